"""A tiny world and tiny models for the tests of unlearning and evaluation."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from factcensus.unlearn.world.settings import PretrainSettings, WorldSettings

SMALL_WORLD = WorldSettings(people=35, exposures=(1, 2, 4), objects=4, phantoms=6, question_copies=2)
SMALL_MODEL = PretrainSettings(width=16, layers=1, heads=2, feed_forward=32, epochs=1, batch_rows=4, save_every_steps=3)


def tiny_config(kind: str, vocabulary: int, **settings: Any) -> Any:
    """Return the configuration of a model with two layers of width 16, such as ``llama`` or ``gpt2``."""
    from transformers import AutoConfig

    if kind == "gpt2":
        sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
    else:
        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        sizes["max_position_embeddings"] = 64
    return AutoConfig.for_model(kind, vocab_size=vocabulary, **(sizes | settings))


def tiny_model(kind: str, vocabulary: int, seed: int = 0, **settings: Any) -> Any:
    """Return a random Llama or GPT-2 with a few thousand parameters, in evaluation mode."""
    import torch
    from transformers import GPT2LMHeadModel, LlamaForCausalLM

    torch.manual_seed(seed)
    if kind == "llama":
        return LlamaForCausalLM(
            tiny_config(kind, vocabulary, **{"initializer_range": 0.2, "tie_word_embeddings": True, **settings})
        ).eval()
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(tiny_config(kind, vocabulary, **{"initializer_range": 0.2, **ends, **settings})).eval()


def plain_llama(vocabulary: int, seed: int = 0, **settings: Any) -> Any:
    """Return a random Llama for tokenizers of whole words: token 0 ends a text, and nothing opens or pads one."""
    ends = {"eos_token_id": 0, "bos_token_id": None, "pad_token_id": None}
    return tiny_model("llama", vocabulary, seed, tie_word_embeddings=False, **ends, **settings)


def same_bytes(first: Any, second: Any) -> bool:
    """Return whether two models have exactly the same weights."""
    import torch

    return all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


def world_documents(world: Path) -> list[dict[str, Any]]:
    """Return the documents of a world in the order of its shards."""
    shards = sorted((world / "corpus" / "v0" / "documents").glob("*.json.gz"))
    return [json.loads(line) for shard in shards for line in gzip.open(shard, "rt")]
