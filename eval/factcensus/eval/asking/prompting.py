"""How models are asked in an evaluation: the template, the settings of a chat template, the time it sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from factcensus.unlearn.config.chat_config import ChatConfig

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Prompting:
    """Loads models and tokenizers so that every checkpoint is asked the same.

    Attributes:
        template: ``plain``, ``chat``, or a text with {prompt} and {answer}.
        chat: Settings of a chat template.
        clock: The time that a chat template sees which reads the clock; None until one is known.
        attention: Implementation of attention; transformers' choice if None.
    """

    template: str = "plain"
    chat: ChatConfig = field(default_factory=ChatConfig)
    clock: datetime | None = None
    attention: str | None = None

    @classmethod
    def of(cls, record: Mapping[str, Any] | None, template: str | None = None) -> Prompting:
        """Return how a run asked, by its run.json; or the default with this template.

        Args:
            template: Instead of the run's.
        """
        config = (record or {}).get("config") or {}
        prompt = (record or {}).get("prompt") or {}
        chosen = template or str(config.get("template") or prompt.get("template") or "plain")
        clock = prompt.get("clock")
        chat = config.get("chat") or prompt.get("chat") or {}
        return cls(
            chosen,
            ChatConfig.model_validate(chat) if chosen == "chat" else ChatConfig(),
            None if clock is None else datetime.fromisoformat(clock),
            config.get("attention"),
        )

    def fixed(self, model: str) -> Prompting:
        """Return the same with a clock if the model's chat template reads one, and without if it does not."""
        from factcensus.unlearn.chat import reads_clock
        from factcensus.unlearn.models import load_tokenizer

        if self.template != "chat" or not reads_clock(load_tokenizer(model, None)):
            return replace(self, clock=None)
        now = datetime.now().replace(microsecond=0)
        return replace(self, clock=self.chat.clock or self.clock or now)

    def tokenizer(self, model: str) -> PreTrainedTokenizerBase:
        """Load a model's tokenizer, its chat template fixed.

        Raises:
            ConfigError: there is none, or its prompts cannot be fixed.
        """
        from factcensus.unlearn.models import load_tokenizer

        return load_tokenizer(model, None, self.chat if self.template == "chat" else None, self.clock)

    def model(self, name: str, place: torch.device) -> PreTrainedModel:
        """Load a model in float32.

        Raises:
            ConfigError: there is none, or it cannot be used.
        """
        import torch

        from factcensus.unlearn.models import load_model

        return load_model(name, None, torch.float32, place, self.attention)

    def record(self) -> dict[str, Any]:
        """Return what run.json says of the prompts."""
        return {
            "template": self.template,
            "chat": self.chat.model_dump(mode="json"),
            "clock": None if self.clock is None else self.clock.isoformat(),
        }
