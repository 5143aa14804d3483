"""Fixtures: tiny real models and a real tokenizer, made on the spot."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from tiny import plain_llama, tiny_model

_WORDS = "<end> <unk> where was ada bo cy born in rome new york oslo is it"
VOCABULARY = [*_WORDS.split(" "), "\n"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    """Make a word-level tokenizer of sixteen words; spaces separate words, and a line break is a word."""
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", unk_token="<unk>")


@pytest.fixture(params=["llama", "gpt2"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """Make a random model of a real class, always the same; dropout is on, as after loading for training."""
    if request.param == "llama":
        made = plain_llama(len(VOCABULARY), initializer_range=0.5)
    else:
        made = tiny_model("gpt2", len(VOCABULARY), initializer_range=0.5)
    trained: PreTrainedModel = made.train()
    return trained
