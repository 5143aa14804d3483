"""Low-rank adapters of peft: trained in place of all parameters, off for the original model, merged at the end.

How they start is :mod:`factcensus.unlearn.training.fila`'s, where a method asks for it.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from factcensus.unlearn.config.method_config import AdapterConfig
from factcensus.unlearn.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Adapter:
    """An adapter in a model's own modules: the model's forward pass goes through it until it is merged.

    Raises:
        ConfigError: peft finds no module of the names given, or a weight is shared with another module.
    """

    def __init__(self, model: PreTrainedModel, settings: AdapterConfig, seed: int) -> None:
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=settings.rank,
            lora_alpha=settings.scale,  # type: ignore[arg-type]  # a factor; peft divides it by the rank
            lora_dropout=0.0,
            target_modules=list(settings.targets) if settings.targets else "all-linear",
            use_dora=settings.kind == "dora",
        )
        with torch.random.fork_rng(), warnings.catch_warnings():
            # peft asks transformers for an attribute by its old name.
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
            warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")  # GPT-2's; peft sets it right
            warnings.filterwarnings("ignore", message=".*tie_word_embeddings")  # refused below
            torch.manual_seed(seed)
            try:
                self._wrapped: Any = get_peft_model(model, config)
            except ValueError as error:
                raise ConfigError(f"adapter.targets {settings.targets}: {error}") from error
        _refuse_shared_weights(model)
        self._wrapped.eval()
        #: With `fila` a part of the original's weights moves into the adapter.
        self.off_is_original = settings.start == "zero"

    @contextmanager
    def off(self) -> Iterator[None]:
        """Inside, the model is the original one."""
        with self._wrapped.disable_adapter():
            yield

    def merge(self) -> None:
        """Add the adapter to the weights it stands beside, and take it out of the model."""
        merged: torch.nn.Module = self._wrapped.merge_and_unload()
        for parameter in merged.parameters():
            parameter.requires_grad_(True)
        merged.eval()


def _refuse_shared_weights(model: PreTrainedModel) -> None:
    """Do nothing if no adapted weight is also another module's.

    Raises:
        ConfigError: one is, such as that of an LM head tied to the input embedding. Training would change one of the
            two, and merging both: the model that is evaluated and saved would not be the one that was trained.
    """
    from peft.tuners.lora.layer import LoraLayer

    owners: dict[int, set[str]] = defaultdict(set)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners[id(parameter)].add(name)
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer) and len(owners[id(module.get_base_layer().weight)]) > 1:
            raise ConfigError(
                f"adapter.targets names {name.rpartition('.')[2]!r}, whose weight is tied to another module's (as LM "
                "head and input embedding share one): merging the adapter would change both, and only one was trained; "
                "leave it out of adapter.targets"
            )
