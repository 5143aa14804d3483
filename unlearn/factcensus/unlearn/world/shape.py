"""The sizes of a model by its number of parameters, and the model itself with random weights."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.world.settings import PretrainSettings

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

#: The GPT-2 models of the paper by their nominal parameters, in millions: layers, heads, width. The nominal numbers
#: include the embeddings of GPT-2's 50,257 tokens.
PUBLISHED = {20: (8, 8, 256), 50: (8, 8, 512), 124: (12, 12, 768), 210: (12, 16, 1024)}
#: Units per head, and the width per layer of the chosen shapes, where there is no published one.
HEAD_UNITS, WIDTH_PER_LAYER = 64, 64
#: The widths to choose from; those below 128 have four heads, or one of 64 units.
_WIDTHS = (*range(16, 128, 16), *range(128, 8193, HEAD_UNITS))
#: Largest relative difference between the wanted and the actual number of parameters.
CLOSE = 0.1


def with_parameters(settings: PretrainSettings, parameters: int, vocabulary: int) -> PretrainSettings:
    """Return settings whose model has about this number of parameters, embeddings included.

    20, 50, 124 and 210 million mean the layers, heads and widths of the paper, whatever the vocabulary. For other
    numbers, the width is near 64 times the number of layers.

    Args:
        settings: All other settings.
        parameters: The wanted number.
        vocabulary: Number of tokens of the tokenizer.

    Raises:
        ConfigError: with this vocabulary, no shape comes close to the requested number.
    """
    millions, rest = divmod(parameters, 10**6)
    if not rest and millions in PUBLISHED:
        layers, heads, width = PUBLISHED[millions]
        return shaped(settings, layers, heads, width)
    found = []
    for layers in range(1, 65):
        for width in _WIDTHS:
            candidate = shaped(settings, layers, width // HEAD_UNITS if width % HEAD_UNITS == 0 else 4, width)
            error = abs(count_parameters(candidate, vocabulary) / parameters - 1)
            if error < CLOSE:
                found.append((abs(width / layers / WIDTH_PER_LAYER - 1) + error, layers, candidate))
    if not found:
        raise ConfigError(
            f"no model has about {parameters:,} parameters with a vocabulary of {vocabulary:,} tokens; give layers, "
            "heads and width instead"
        )
    return min(found, key=lambda each: each[:2])[2]


def shaped(settings: PretrainSettings, layers: int, heads: int, width: int) -> PretrainSettings:
    """Return settings with these sizes and the usual feed-forward layer: 4 widths (GPT-2), or 8/3 (Llama)."""
    feed_forward = 4 * width if settings.architecture == "gpt2" else 8 * ((width + 2) // 3)
    return replace(settings, layers=layers, heads=heads, width=width, feed_forward=feed_forward)


def positions(settings: PretrainSettings) -> int:
    """Return the number of positions of the model."""
    return max(512, settings.row_tokens)


def count_parameters(settings: PretrainSettings, vocabulary: int) -> int:
    """Return the number of parameters of the model without building it."""
    width, feed_forward = settings.width, settings.feed_forward
    if settings.architecture == "gpt2":
        layer = 4 * width * width + 4 * width + 2 * width * feed_forward + width + feed_forward + 4 * width
        return (vocabulary + positions(settings)) * width + settings.layers * layer + 2 * width
    layer = 4 * width * width + 3 * width * feed_forward + 2 * width
    return vocabulary * width + settings.layers * layer + width


def build_model(vocabulary: int, settings: PretrainSettings, end_id: int) -> PreTrainedModel:
    """Return a model with tied embeddings and random float32 weights from torch's current seed."""
    from transformers import GPT2LMHeadModel, LlamaForCausalLM

    kind: Any = GPT2LMHeadModel if settings.architecture == "gpt2" else LlamaForCausalLM
    model: PreTrainedModel = kind(model_config(vocabulary, settings, end_id))
    return model


def model_config(vocabulary: int, settings: PretrainSettings, end_id: int) -> PretrainedConfig:
    """Return the configuration of the model."""
    from transformers import GPT2Config, LlamaConfig

    if settings.architecture == "gpt2":
        return GPT2Config(
            vocab_size=vocabulary,
            n_embd=settings.width,
            n_layer=settings.layers,
            n_head=settings.heads,
            n_inner=settings.feed_forward,
            n_positions=positions(settings),
            initializer_range=settings.initializer_range,
            resid_pdrop=settings.dropout,
            embd_pdrop=settings.dropout,
            attn_pdrop=settings.dropout,
            tie_word_embeddings=True,
            bos_token_id=end_id,
            eos_token_id=end_id,
            pad_token_id=None,  # with one, the model would warn that padding is not masked
        )
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=settings.width,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        intermediate_size=settings.feed_forward,
        max_position_embeddings=positions(settings),
        initializer_range=settings.initializer_range,
        tie_word_embeddings=True,
        bos_token_id=end_id,
        eos_token_id=end_id,
        pad_token_id=end_id,
    )
