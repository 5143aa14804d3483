"""Sizes of models by their parameters, and pre-training with other architectures, tokenizers and arithmetic."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from factcensus.indexer.cli import main
from factcensus.unlearn.config.run_config import check_config
from factcensus.unlearn.errors import ConfigError, InterruptedRunError
from factcensus.unlearn.models import load_tokenizer
from factcensus.unlearn.progress import Progress
from factcensus.unlearn.run import run_unlearning
from factcensus.unlearn.world.pretrain import pretrain
from factcensus.unlearn.world.rows import read_facts
from factcensus.unlearn.world.settings import PretrainSettings
from factcensus.unlearn.world.shape import PUBLISHED, build_model, count_parameters, shaped, with_parameters
from tiny import SMALL_MODEL

GPT2_VOCABULARY = 50257


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_counted_parameters_are_those_of_the_model(architecture: Any) -> None:
    settings = shaped(PretrainSettings(architecture=architecture), layers=3, heads=4, width=40)
    model: Any = build_model(97, settings, end_id=0)
    assert count_parameters(settings, 97) == sum(each.numel() for each in model.parameters())


@pytest.mark.parametrize("millions", PUBLISHED)
def test_published_sizes_have_their_nominal_parameters(millions: int) -> None:
    settings = with_parameters(PretrainSettings(architecture="gpt2"), millions * 10**6, GPT2_VOCABULARY)
    assert (settings.layers, settings.heads, settings.width) == PUBLISHED[millions]
    assert count_parameters(settings, GPT2_VOCABULARY) == pytest.approx(millions * 1e6, rel=0.04)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize(
    ("parameters", "vocabulary"), [(72_000, 480), (5_000_000, 1500), (30_000_000, GPT2_VOCABULARY)]
)
def test_chosen_shape_has_about_the_wanted_parameters(architecture: Any, parameters: int, vocabulary: int) -> None:
    settings = with_parameters(PretrainSettings(architecture=architecture), parameters, vocabulary)
    assert count_parameters(settings, vocabulary) == pytest.approx(parameters, rel=0.1)


def test_too_small_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="no model has about 1,000 parameters with a vocabulary of 50,257 tokens"):
        with_parameters(PretrainSettings(), 1000, GPT2_VOCABULARY)


def test_other_tokenizer_opens_every_text_with_its_end_of_text_token(world: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator([], trainers.BpeTrainer(special_tokens=["<|end|>"], initial_alphabet=letters))
    make: Any = PreTrainedTokenizerFast
    make(tokenizer_object=core, eos_token="<|end|>").save_pretrained(tmp_path / "tokenizer")
    settings = dataclasses.replace(SMALL_MODEL, tokenizer=str(tmp_path / "tokenizer"), row_tokens=256)
    model = pretrain(world, tmp_path / "model", settings, seed=0)
    tokenizer = load_tokenizer(str(model), None)
    question = read_facts(world)[0]["question"]
    ids = tokenizer(question)["input_ids"]
    assert ids[0] == tokenizer.eos_token_id
    assert tokenizer.decode(ids[1:]) == question


def test_parameters_stay_float32_under_bfloat16_arithmetic(world: Path, tmp_path: Path) -> None:
    losses = []
    for dtype in ("float32", "bfloat16-autocast"):
        settings = dataclasses.replace(SMALL_MODEL, dtype=dtype)
        folder = pretrain(world, tmp_path / dtype, settings, seed=0)
        assert {each.dtype for each in load_file(folder / "model.safetensors").values()} == {torch.float32}
        losses.append(json.loads((folder / "pretraining.json").read_text())["training"]["last_loss_nats"])
    one, other = (load_file(tmp_path / dtype / "model.safetensors") for dtype in ("float32", "bfloat16-autocast"))
    assert any(not torch.equal(other[name], value) for name, value in one.items())
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_resumed_training_with_dropout_ends_with_the_same_bytes(world: Path, tmp_path: Path) -> None:
    settings = dataclasses.replace(SMALL_MODEL, architecture="gpt2", dropout=0.1)

    def end(progress: Progress) -> None:
        if progress.done == 8:
            os.kill(os.getpid(), signal.SIGTERM)

    whole = pretrain(world, tmp_path / "whole", settings, seed=0)
    with pytest.raises(InterruptedRunError):
        pretrain(world, tmp_path / "model", settings, 0, progress=end)
    resumed = pretrain(world, tmp_path / "model", settings, 0)
    assert (resumed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    plain = pretrain(world, tmp_path / "plain", dataclasses.replace(settings, dropout=0.0), seed=0)
    assert (plain / "model.safetensors").read_bytes() != (whole / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architecture": "gpt3"}, "expected 'llama' or 'gpt2'"),
        ({"dtype": "bfloat16"}, "expected 'float32' or 'bfloat16-autocast'"),
        ({"dropout": 0.1}, "a Llama model, which has none"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PretrainSettings(**settings)


def test_command_chooses_the_sizes(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["world", "pretrain", str(world), "--out", str(tmp_path / "model"), "--epochs", "1", "--json"]
    assert main([*words, "--architecture", "gpt2", "--layers", "1", "--width", "16", "--heads", "2"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["settings"]["architecture"], record["settings"]["layers"], record["settings"]["width"]) == (
        "gpt2",
        1,
        16,
    )
    assert main([*words, "--parameters", "20 million"]) == 2
    assert "--parameters must be a number of parameters such as 20M" in capsys.readouterr().err
    assert main([*words, "--parameters", "20M", "--layers", "1"]) == 2


def test_retraining_repeats_the_shape_of_the_model(world: Path, tmp_path: Path) -> None:
    settings = dataclasses.replace(SMALL_MODEL, architecture="gpt2", dtype="bfloat16-autocast")
    model = pretrain(world, tmp_path / "model", settings, seed=0)
    oracle = pretrain(world, tmp_path / "oracle", settings, seed=0, exclude_roles=("forget",))
    config = {
        "model": str(model),
        "facts": str(world / "facts.jsonl"),
        "out": str(tmp_path / "run"),
        "device": "cpu",
        "evaluator": "none",
        "save_models": True,
        "methods": [{"preset": "retrain", "retrain_world": str(world)}],
        "selection": {"count_column": "exposures"},
    }
    run = run_unlearning(check_config(config))
    retrained = load_file(run / "cells" / "retrain" / "model" / "model.safetensors")
    for name, value in load_file(oracle / "model.safetensors").items():
        assert torch.equal(retrained[name], value)
