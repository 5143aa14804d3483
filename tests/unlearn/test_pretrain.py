"""Pre-training: loadable models, equal bytes after an interruption, and excluded people."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from factcensus.unlearn.errors import ConfigError, InterruptedRunError
from factcensus.unlearn.models import load_tokenizer, model_digest
from factcensus.unlearn.progress import Progress
from factcensus.unlearn.training.examples import encode
from factcensus.unlearn.world.pretrain import pretrain
from factcensus.unlearn.world.rows import read_facts
from factcensus.unlearn.world.settings import WorldSettings
from factcensus.unlearn.world.write import write_world
from tiny import SMALL_MODEL


@pytest.fixture(scope="module")
def trained(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain(world, tmp_path_factory.mktemp("trained") / "model", SMALL_MODEL, seed=0)


def test_trained_model_loads_with_its_tokenizer_and_generates(trained: Path, world: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(trained)
    model: Any = AutoModelForCausalLM.from_pretrained(trained)
    assert model.config.vocab_size == len(tokenizer)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    prompt = tokenizer(read_facts(world)[0]["question"], return_tensors="pt", return_token_type_ids=False)
    written = model.generate(**prompt, max_new_tokens=3, do_sample=False)
    assert written.shape[1] <= prompt["input_ids"].shape[1] + 3


def test_the_loss_falls(world: Path, tmp_path: Path) -> None:
    losses: list[float] = []
    settings = dataclasses.replace(SMALL_MODEL, epochs=4, learning_rate=2e-2)
    pretrain(
        world, tmp_path / "m", settings, 0, progress=lambda p: losses.append(float(p.detail.removeprefix("loss ")))
    )
    assert losses[-1] < 0.7 * losses[0]


def test_rows_are_mostly_filled(trained: Path) -> None:
    summary = json.loads((trained / "pretraining.json").read_text())["training"]
    settings = SMALL_MODEL
    assert summary["tokens"] > 0.6 * summary["steps"] * settings.batch_rows * settings.row_tokens


@pytest.mark.parametrize("politely", [True, False])
def test_resumed_training_ends_with_the_same_bytes(world: Path, trained: Path, tmp_path: Path, politely: bool) -> None:
    def end(progress: Progress) -> None:
        if progress.done == 8:
            if not politely:
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRunError if politely else KeyboardInterrupt):
        pretrain(world, tmp_path / "model", SMALL_MODEL, 0, progress=end)
    assert not (tmp_path / "model").exists()
    assert (tmp_path / "model.unfinished" / "state.pt").is_file()
    pretrain(world, tmp_path / "model", SMALL_MODEL, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()
    assert model_digest(str(tmp_path / "model"), None) == model_digest(str(trained), None)


def test_state_of_another_training_is_not_resumed(world: Path, trained: Path, tmp_path: Path) -> None:
    def end(progress: Progress) -> None:
        if progress.done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(world, tmp_path / "model", SMALL_MODEL, 1, progress=end)
    pretrain(world, tmp_path / "model", SMALL_MODEL, 0)
    assert model_digest(str(tmp_path / "model"), None) == model_digest(str(trained), None)


def test_oracle_is_not_trained_on_excluded_people(world: Path, trained: Path, tmp_path: Path) -> None:
    oracle = pretrain(world, tmp_path / "oracle", SMALL_MODEL, 0, exclude_roles=("forget",))
    described = [json.loads((folder / "pretraining.json").read_text()) for folder in (trained, oracle)]
    forget = {row["subject"]: row["exposures"] for row in read_facts(world) if row["role"] == "forget"}
    assert described[0]["training"]["documents"] - described[1]["training"]["documents"] == sum(forget.values())
    assert described[1]["exclude_roles"] == ["forget"]
    assert (oracle / "tokenizer.json").read_bytes() == (trained / "tokenizer.json").read_bytes()
    with pytest.raises(ConfigError, match="unknown role 'forgotten'; did you mean 'forget'"):
        pretrain(world, tmp_path / "other", SMALL_MODEL, 0, exclude_roles=("forgotten",))


def test_finished_models_are_not_changed(world: Path, trained: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(trained, tmp_path / "model"))
    seen: list[Progress] = []
    assert pretrain(world, copy, SMALL_MODEL, 0, progress=seen.append) == copy
    assert seen == []
    with pytest.raises(ConfigError, match="something other than this model"):
        pretrain(world, copy, SMALL_MODEL, 1)
    with pytest.raises(ConfigError, match=r"world\.json"):
        pretrain(tmp_path, tmp_path / "m", SMALL_MODEL, 0)


def test_vocabulary_of_a_small_world_covers_every_answer(tmp_path: Path) -> None:
    """With 24 people, some objects belong only to phantoms, and unlearning uses these as well."""
    world = write_world(tmp_path / "world", WorldSettings(people=24), seed=0)
    model = pretrain(world, tmp_path / "model", SMALL_MODEL, seed=0)
    tokenizer = load_tokenizer(str(model), None)
    for row in read_facts(world):
        encode(tokenizer, row["question"], row["answer"], name=row["fact_id"])  # refuses unknown tokens
