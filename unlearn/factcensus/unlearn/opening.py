"""The end-of-text token before every text, as between the documents of pre-training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from factcensus.unlearn.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def open_with_end_of_text(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Make a tokenizer put its end-of-text token before every text.

    Args:
        tokenizer: Changed in place. Chat templates, which add their own tokens, are not affected.
        name: Name of the model, for error messages.

    Raises:
        ConfigError: the tokenizer has no end-of-text token, opens texts with another token, or is not a fast tokenizer.
    """
    from tokenizers.processors import Sequence, TemplateProcessing

    if tokenizer.eos_token_id is None:
        raise ConfigError(f"model {name!r}: opening is 'end-of-text', but the tokenizer has no end-of-text token")
    encoding: Any = tokenizer("a", return_special_tokens_mask=True)
    ids, special = encoding["input_ids"], encoding["special_tokens_mask"]
    if special[0] and ids[0] == tokenizer.eos_token_id:
        return
    if special[0]:
        raise ConfigError(
            f"model {name!r}: opening is 'end-of-text', but the tokenizer opens every text with "
            f"{tokenizer.convert_ids_to_tokens([ids[0]])[0]!r}; remove opening"
        )
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not hasattr(backend, "post_processor"):
        raise ConfigError(f"model {name!r}: opening is 'end-of-text', which needs a fast tokenizer (tokenizer.json)")
    end = str(tokenizer.eos_token)
    opened = TemplateProcessing(
        single=[end, "$A"], pair=[end, "$A", "$B"], special_tokens=[(end, tokenizer.eos_token_id)]
    )
    own = backend.post_processor
    backend.post_processor = opened if own is None else Sequence([own, opened])
