"""Load models and tokenizers of transformers, from folders or the hub, and say exactly which one it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from factcensus.unlearn.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: Files of a model folder that decide what the model says.
DECIDING = ("*.safetensors", "*.bin", "*.json", "*.model", "*.txt", "*.jinja")
#: Our own record of a training; it has times in it.
IGNORED = frozenset({"pretraining.json"})


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars of transformers inside: progress is ours to report."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging
    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()


def load_model(name: str, revision: str | None, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """A causal language model in evaluation mode, its parameters of this type.

    Raises:
        ConfigError: there is no such model.
    """
    from transformers import AutoModelForCausalLM

    with quiet_transformers():
        model: Any = _from_pretrained(AutoModelForCausalLM, name, revision=revision, dtype=dtype)
    loaded: PreTrainedModel = model.to(device).eval()
    return loaded


def load_tokenizer(name: str, revision: str | None) -> PreTrainedTokenizerBase:
    """The tokenizer of a model.

    Raises:
        ConfigError: there is none.
    """
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = _from_pretrained(AutoTokenizer, name, revision=revision)
    return tokenizer


def load_model_config(name: str, revision: str | None) -> Any:
    """The model's configuration, without its weights."""
    from transformers import AutoConfig

    return _from_pretrained(AutoConfig, name, revision=revision)


def _from_pretrained(kind: Any, name: str, *, revision: str | None, **arguments: Any) -> Any:
    if revision is not None:
        arguments["revision"] = revision
    if not Path(name).is_dir() and (name.startswith(("/", ".", "~")) or name.count("/") > 1):
        raise ConfigError(f"model {name!r}: no such folder")
    try:
        return kind.from_pretrained(name, **arguments)
    except (OSError, ValueError) as error:
        first = str(error).strip().partition("\n")[0]
        raise ConfigError(f"model {name!r} cannot be loaded as a folder or from the hub: {first}") from error


def pad_id_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """Some token id to fill batches with; no loss depends on which."""
    for candidate in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if isinstance(candidate, int):
            return candidate
    return 0


def parameter_count(name: str, revision: str | None) -> int:
    """Parameters of a model, counted from its configuration without loading or making a weight."""
    import torch
    from transformers import AutoModelForCausalLM

    config, kind = load_model_config(name, revision), cast("Any", AutoModelForCausalLM)
    with torch.device("meta"):
        model = kind.from_config(config)
    return sum(parameter.numel() for parameter in model.parameters())


def model_digest(name: str, revision: str | None) -> str:
    """What identifies a model: SHA-256 over a folder's files, or the hub's commit."""
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
    """SHA-256 of a file, as ``sha256:HEX``."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
