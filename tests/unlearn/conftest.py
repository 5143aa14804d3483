"""Fixtures: a small world, its tokenizer, and tiny random models. Nothing is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tiny import SMALL_WORLD, tiny_model


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a world of 35 people."""
    from factcensus.unlearn.world.write import write_world

    return write_world(tmp_path_factory.mktemp("worlds") / "world", SMALL_WORLD, seed=0)


@pytest.fixture(scope="session")
def tokenizer(world: Path) -> Any:
    """Return the tokenizer of the world."""
    from factcensus.unlearn.world.rows import read_facts, read_texts
    from factcensus.unlearn.world.tokenizer import build_tokenizer

    return build_tokenizer(read_texts(world) + [row["question"] for row in read_facts(world)])


@pytest.fixture(scope="session")
def model_folder(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a random Llama with the world's tokenizer in the format of `from_pretrained`."""
    from factcensus.unlearn.models import quiet_transformers

    folder = tmp_path_factory.mktemp("models") / "llama"
    with quiet_transformers():
        tiny_model("llama", len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Use one thread, so that equal computations give equal bytes."""
    import torch

    torch.set_num_threads(1)
