"""Low-rank adapters of peft, trained instead of all parameters and merged after training.

With the adapter switched off, the model is the original. :mod:`factcensus.unlearn.training.fila` initialises adapters
if a method asks for it.
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
    """An adapter inside a model's modules; the model uses it until it is merged.

    Raises:
        ConfigError: no module has the given names, or a weight is shared with another module.
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
            warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")  # GPT-2; peft corrects it
            warnings.filterwarnings("ignore", message=".*tie_word_embeddings")  # refused below
            torch.manual_seed(seed)
            try:
                self._wrapped: Any = get_peft_model(model, config)
            except ValueError as error:
                raise ConfigError(f"adapter.targets {settings.targets}: {error}") from error
        _refuse_shared_weights(model)
        self._wrapped.eval()
        #: False with `fila`, which moves part of the original weights into the adapter.
        self.off_is_original = settings.start == "zero"

    @contextmanager
    def off(self) -> Iterator[None]:
        """Switch the adapter off inside the block, which restores the original model."""
        with self._wrapped.disable_adapter():
            yield

    def merge(self) -> None:
        """Merge the adapter into the weights and remove it from the model."""
        merged: torch.nn.Module = self._wrapped.merge_and_unload()
        for parameter in merged.parameters():
            parameter.requires_grad_(True)
        merged.eval()


def _refuse_shared_weights(model: PreTrainedModel) -> None:
    """Refuse adapters on weights that several modules share.

    Raises:
        ConfigError: a weight is shared, such as that of an LM head tied to the input embedding. Training would change
            only one of the modules but merging would change both, so the saved model would differ from the trained one.
    """
    from peft.tuners.lora.layer import LoraLayer

    owners: dict[int, set[str]] = defaultdict(set)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners[id(parameter)].add(name)
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer) and len(owners[id(module.get_base_layer().weight)]) > 1:
            raise ConfigError(
                f"adapter.targets names {name.rpartition('.')[2]!r}, whose weight is tied to another module (such as "
                "LM head and input embedding); merging the adapter would change both, but only one was trained; "
                "remove it from adapter.targets"
            )
