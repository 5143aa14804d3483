"""A small world, a tokenizer of it, and tiny random models: nothing here is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny import SMALL_WORLD, tiny_model


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A written world of 35 people."""
    from factcensus.unlearn.world.write import write_world

    return write_world(tmp_path_factory.mktemp("worlds") / "world", SMALL_WORLD, seed=0)


@pytest.fixture(scope="session")
def tokenizer(world: Path) -> Any:
    """The world's tokenizer."""
    from factcensus.unlearn.world.rows import read_facts, read_texts
    from factcensus.unlearn.world.tokenizer import build_tokenizer

    return build_tokenizer(read_texts(world) + [row["question"] for row in read_facts(world)])


@pytest.fixture(scope="session")
def model_folder(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with the world's tokenizer, saved as `from_pretrained` expects it."""
    from factcensus.unlearn.models import quiet_transformers

    folder = tmp_path_factory.mktemp("models") / "llama"
    with quiet_transformers():
        tiny_model("llama", len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Sums in one order, so that equal computations have equal bytes."""
    import torch

    torch.set_num_threads(1)
