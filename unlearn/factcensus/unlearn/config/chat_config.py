"""The settings of a chat template."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field, field_validator

from factcensus.unlearn.config.section import ConfigSection

Value = bool | int | float | str | None
#: The function that chat templates call to read the clock.
CLOCK = "strftime_now"
#: Names under which a template receives the prompt.
_RESERVED = frozenset({"messages", "tools", "documents", "add_generation_prompt", "continue_final_message", CLOCK})


class ChatConfig(ConfigSection):
    """Input of a chat template in addition to the question; for ``template = "chat"``."""

    system: str | None = Field(default=None, min_length=1, description="a system message before the question")
    arguments: dict[str, Value] = Field(
        default_factory=dict, description="values that the chat template reads, such as {enable_thinking = false}"
    )
    clock: datetime | None = Field(
        default=None,
        description="date and time for templates that read the clock; by default the start of the run",
    )

    @field_validator("arguments")
    @classmethod
    def _usable_names(cls, arguments: dict[str, Value]) -> dict[str, Value]:
        for name in arguments:
            if not name.isidentifier() or name in _RESERVED:
                raise ValueError(f"{name!r} is not a valid chat argument; expected a name that the template reads")
        return arguments

    @property
    def is_default(self) -> bool:
        """Whether all settings have their defaults."""
        return self == ChatConfig()
