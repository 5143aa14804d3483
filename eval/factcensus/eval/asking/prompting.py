"""Prompt settings of an evaluation: the template, the settings of a chat template, and the time that it sees."""

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
    """Prompt settings that load models and tokenizers in the same way for every checkpoint.

    Attributes:
        template: ``plain``, ``chat``, or a text with {prompt} and {answer}.
        chat: Settings of a chat template.
        clock: The time seen by a chat template that reads the clock; None until it is set.
        attention: Attention implementation; None leaves the choice to transformers.
        opening: Tokens before a text: those of the tokenizer, or ``end-of-text``.
    """

    template: str = "plain"
    chat: ChatConfig = field(default_factory=ChatConfig)
    clock: datetime | None = None
    attention: str | None = None
    opening: str = "tokenizer"

    @classmethod
    def of(cls, record: Mapping[str, Any] | None, template: str | None = None, opening: str | None = None) -> Prompting:
        """Return the prompting recorded in run.json, or the default.

        Args:
            template: Template to use instead of the recorded one.
            opening: Opening to use instead of the recorded one.
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
            opening or str(config.get("opening") or prompt.get("opening") or "tokenizer"),
        )

    def fixed(self, model: str) -> Prompting:
        """Return the same settings with a clock if the chat template reads one, and without a clock otherwise."""
        from factcensus.unlearn.chat import reads_clock
        from factcensus.unlearn.models import load_tokenizer

        if self.template != "chat" or not reads_clock(load_tokenizer(model, None)):
            return replace(self, clock=None)
        now = datetime.now().replace(microsecond=0)
        return replace(self, clock=self.chat.clock or self.clock or now)

    def tokenizer(self, model: str) -> PreTrainedTokenizerBase:
        """Load the tokenizer of a model with a fixed chat template.

        Raises:
            ConfigError: the model has no tokenizer, or its prompts cannot be fixed.
        """
        from factcensus.unlearn.models import load_tokenizer

        return load_tokenizer(
            model, None, self.chat if self.template == "chat" else None, self.clock, opening=self.opening
        )

    def model(self, name: str, place: torch.device) -> PreTrainedModel:
        """Load a model in float32.

        Flash attention has no float32 kernels, so transformers chooses the implementation then.

        Raises:
            ConfigError: the model does not exist or is unusable.
        """
        import torch

        from factcensus.unlearn.models import load_model

        flash = self.attention is not None and self.attention.startswith("flash_attention")
        return load_model(name, None, torch.float32, place, None if flash else self.attention)

    def record(self) -> dict[str, Any]:
        """Return the prompt settings that are written to run.json."""
        return {
            "template": self.template,
            **({} if self.opening == "tokenizer" else {"opening": self.opening}),
            "chat": self.chat.model_dump(mode="json"),
            "clock": None if self.clock is None else self.clock.isoformat(),
        }
