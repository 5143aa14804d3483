"""A tiny world and tiny models for tests."""

from __future__ import annotations

from typing import Any

from factcensus.unlearn.world.settings import PretrainSettings, WorldSettings

SMALL_WORLD = WorldSettings(people=35, exposures=(1, 2, 4), objects=4, phantoms=6, question_copies=2)
SMALL_MODEL = PretrainSettings(width=16, layers=1, heads=2, feed_forward=32, epochs=1, batch_rows=4, save_every_steps=3)


def tiny_model(kind: str, vocabulary: int, seed: int = 0) -> Any:
    """Return a random Llama or GPT-2 with a few thousand parameters, in evaluation mode."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    if kind == "llama":
        config = LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
            initializer_range=0.2,
            tie_word_embeddings=True,
        )
        model: Any = LlamaForCausalLM(config)
        return model.eval()
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocabulary,
            n_embd=16,
            n_layer=2,
            n_head=2,
            n_positions=64,
            initializer_range=0.2,
            bos_token_id=0,
            eos_token_id=0,
        )
    )
    return model.eval()
