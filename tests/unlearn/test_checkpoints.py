"""Invalid checkpoints are refused with a reason before training, without asking whether to run their code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from factcensus.indexer.cli import main
from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.models import load_model, load_tokenizer, pad_id_of

CPU = torch.device("cpu")
Change = Callable[[Path], None]


def in_config(**values: Any) -> Change:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def remote_code(folder: Path) -> None:
    (folder / "modeling_x.py").write_text("raise SystemExit('code of the checkpoint ran')\n")
    auto_map = {"AutoConfig": "modeling_x.Config", "AutoModelForCausalLM": "modeling_x.Model"}
    in_config(model_type="x", auto_map=auto_map)(folder)


class Runs:
    """An object that is pickled as a function call."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("code of the checkpoint ran",)


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"lm_head.weight": Runs()}, folder / "pytorch_model.bin")


def cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:2000])


def without_a_weight(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def fewer_rows(folder: Path) -> None:
    """Save a model whose embedding lacks the last five tokens of the tokenizer."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    rows = len(weights["model.embed_tokens.weight"]) - 5
    weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"][:rows].clone()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    in_config(vocab_size=rows)(folder)


@pytest.fixture
def changed(model_folder: Path, tmp_path: Path) -> Callable[[Change], Path]:
    def copy(change: Change) -> Path:
        folder = Path(shutil.copytree(model_folder, tmp_path / "model"))
        change(folder)
        return folder

    return copy


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remote_code, "remote code.*never run"),
        (pickled, "pickled weights.*safetensors"),
        (cut_short, "damaged or incomplete"),
        (without_a_weight, "lacks weights.*layers.1.mlp.up_proj"),
        (in_config(hidden_size=32), "shapes of its weights"),
        (in_config(model_type="t5"), "not a causal language model"),
        (in_config(quantization_config={"quant_method": "gptq", "bits": 4}), r"quantised \(gptq\)"),
        (in_config(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}), "quantised"),
    ],
)
def test_invalid_checkpoints_are_refused_with_a_reason(
    changed: Callable[[Change], Path], change: Change, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = changed(change)
    with pytest.raises(ConfigError, match=message) as refused:
        load_model(str(folder), None, torch.float32, CPU)
    assert "weights_only" not in str(refused.value)
    assert "Do you wish to run" not in "".join(capfd.readouterr()), "nobody is asked on the terminal"


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remote_code, "remote code"),
        (in_config(quantization_config={"quant_method": "awq"}), "quantised"),
        (fewer_rows, "5 tokens more than the embedding has rows"),
    ],
)
def test_commands_refuse_invalid_checkpoints_before_writing(
    changed: Callable[[Change], Path],
    change: Change,
    message: str,
    command: str,
    world: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = {
        "model": str(changed(change)),
        "facts": str(world / "facts.jsonl"),
        "out": str(tmp_path / "run"),
        "methods": ["grad_ascent"],
        "evaluator": "none",
    }
    (tmp_path / "run.json").write_text(json.dumps(settings))
    assert main(["unlearn", command, str(tmp_path / "run.json")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_padding_token_beyond_the_embedding_is_not_used(model_folder: Path) -> None:
    tokenizer = load_tokenizer(str(model_folder), None)
    rows = len(tokenizer)
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    assert tokenizer.pad_token_id == rows
    assert pad_id_of(tokenizer, rows) == tokenizer.eos_token_id


def test_attention_setting_selects_the_implementation(model_folder: Path) -> None:
    model: Any = load_model(str(model_folder), None, torch.float32, CPU, "eager")
    assert model.config._attn_implementation == "eager"
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load_model(str(model_folder), None, torch.float32, CPU, "flash_attention_2")
