"""Load models and tokenizers of transformers from folders or the Hugging Face Hub, and identify them by digest."""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from factcensus.unlearn.chat import check_tokenizer_is_deterministic, fix_chat_template
from factcensus.unlearn.config.chat_config import ChatConfig
from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.opening import open_with_end_of_text

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: Files of a model folder that determine the model's output.
DECIDING = ("*.safetensors", "*.bin", "*.json", "*.model", "*.txt", "*.jinja")
#: Our training record, which contains times.
IGNORED = frozenset({"pretraining.json"})


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Disable the progress bars of transformers inside the block, because we report progress ourselves."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging
    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()


def load_model(
    name: str, revision: str | None, dtype: torch.dtype, device: torch.device, attention: str | None = None
) -> PreTrainedModel:
    """Load a causal language model in evaluation mode, with parameters of this type.

    Args:
        attention: An attention implementation of transformers; chosen by transformers if None.

    Raises:
        ConfigError: the model does not exist, cannot be trained, or lacks weights.
    """
    from transformers import AutoModelForCausalLM

    load_model_config(name, revision)
    arguments: dict[str, Any] = {} if attention is None else {"attn_implementation": attention}
    with quiet_transformers():
        model, found = _from_pretrained(
            AutoModelForCausalLM, name, revision=revision, dtype=dtype, output_loading_info=True, **arguments
        )
    if missing := sorted(found["missing_keys"]):
        raise ConfigError(
            f"model {name!r} lacks weights of its architecture, which would be random: {missing[0]}"
            f"{f' and {len(missing) - 1} more' if len(missing) > 1 else ''}; save the complete model again"
        )
    loaded: PreTrainedModel = model.to(device).eval()
    return loaded


def save_model(model: PreTrainedModel, folder: Path) -> None:
    """Save a model in the format of ``from_pretrained``.

    Raises:
        OSError: the disk is full; safetensors raises an error of its own.
    """
    from safetensors import SafetensorError

    try:
        with quiet_transformers():
            model.save_pretrained(folder)
    except SafetensorError as error:
        if "No space left" in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        raise


def load_tokenizer(
    name: str,
    revision: str | None,
    chat: ChatConfig | None = None,
    clock: datetime | None = None,
    *,
    opening: str = "tokenizer",
) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model.

    Args:
        chat: Settings of the chat template, which is then fixed; None does not change the template.
        clock: The time that the template sees; by default now.
        opening: ``end-of-text`` puts the end-of-text token before every text; ``tokenizer`` changes nothing.

    Raises:
        ConfigError: there is no tokenizer, its prompts would differ each time, or it cannot open a text this way.
    """
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = _from_pretrained(AutoTokenizer, name, revision=revision)
    check_tokenizer_is_deterministic(tokenizer)
    if chat is not None:
        fix_chat_template(tokenizer, chat, clock or datetime.now())
    if opening == "end-of-text":
        open_with_end_of_text(tokenizer, name)
    return tokenizer


def load_model_config(name: str, revision: str | None) -> Any:
    """Load the model's configuration, without its weights.

    Raises:
        ConfigError: there is no configuration, or it does not describe a trainable causal language model.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    config = _from_pretrained(AutoConfig, name, revision=revision)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or getattr(config, "is_encoder_decoder", False):
        raise ConfigError(f"model {name!r} is of type {config.model_type!r}, which is not a causal language model")
    if (quantised := getattr(config, "quantization_config", None)) is not None:
        kind = dict(quantised).get("quant_method", "of unknown kind") if isinstance(quantised, dict) else quantised
        raise ConfigError(
            f"model {name!r} is quantised ({kind}), and quantised weights cannot be trained; use the original "
            "checkpoint (an unlearned model can be attacked by quantisation afterwards: eval run --attacks quantise)"
        )
    return config


def _from_pretrained(kind: Any, name: str, *, revision: str | None, **arguments: Any) -> Any:
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    if revision is not None:
        arguments["revision"] = revision
    if not Path(name).is_dir() and (name.startswith(("/", ".", "~")) or name.count("/") > 1):
        raise ConfigError(f"model {name!r}: no such folder")
    try:
        # Without this argument, transformers asks on the terminal whether to run code from the checkpoint.
        return kind.from_pretrained(name, trust_remote_code=False, **arguments)
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"model {name!r} has pickled weights (.bin) that contain more than tensors; they may run code and are not "
            "loaded; use its safetensors files, or ask its publisher to convert it to safetensors"
        ) from error
    except (LookupError, AttributeError, TypeError, StrictDataclassError) as error:  # malformed files
        raise ConfigError(
            f"model {name!r} cannot be loaded: a configuration or tokenizer file is malformed "
            f"({type(error).__name__}: {' '.join(str(error).split())})"
        ) from error
    except (OSError, ValueError, ImportError, SafetensorError, RuntimeError) as error:
        raise ConfigError(f"model {name!r} cannot be loaded as a folder or from the hub: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return the problem of a checkpoint in one sentence."""
    text = str(error).strip()
    if "trust_remote_code" in text or "custom code" in text:
        return (
            "it needs its own code (remote code), which is never run; use a checkpoint of an architecture that is "
            "part of transformers"
        )
    if "ignore_mismatched_sizes" in text:
        return "the shapes of its weights differ from its config.json"
    if type(error).__name__ == "SafetensorError":
        return f"its safetensors file is damaged or incomplete ({text.partition(chr(10))[0]})"
    return text.partition("\n")[0]


def pad_id_of(tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> int:
    """Return a token id for padding; no loss depends on it.

    Args:
        vocabulary: Rows of the model's embedding. A padding token that was added only to the tokenizer is outside.
    """
    for candidate in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if isinstance(candidate, int) and candidate < vocabulary:
            return candidate
    return 0


def parameter_count(name: str, revision: str | None) -> int:
    """Return the number of parameters of a model, without loading or allocating weights."""
    import torch
    from transformers import AutoModelForCausalLM

    config, kind = load_model_config(name, revision), cast("Any", AutoModelForCausalLM)
    with torch.device("meta"):
        model = kind.from_config(config)
    return sum(parameter.numel() for parameter in model.parameters())


def model_digest(name: str, revision: str | None) -> str:
    """Return the identity of a model: SHA-256 over a folder's files, or the commit on the Hub."""
    folder = Path(name)
    if not folder.is_dir():
        commit = getattr(load_model_config(name, revision), "_commit_hash", None) or revision or "unknown"
        return f"hub:{name}@{commit}"
    files = sorted({path for pattern in DECIDING for path in folder.glob(pattern) if path.name not in IGNORED})
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}\0".encode())
        digest.update(file_digest(path).encode())
    return f"sha256:{digest.hexdigest()}"


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file as ``sha256:HEX``."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
