"""Chat templates as part of the experiment: no clock, no chance, and the settings that a run asks for.

A chat template is a program. Some read the clock (``strftime_now``), so the same run would ask other questions on
another day; some have switches (``enable_thinking``) and take a system message. Everything that a run fixes is written
in front of the template, so whatever renders a prompt with this tokenizer renders the same one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from factcensus.unlearn.config.chat_config import CLOCK, ChatConfig, Value
from factcensus.unlearn.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CALL = re.compile(rf"\b{CLOCK}\s*\(\s*(?:(\"[^\"]*\"|'[^']*')\s*\))?")
_CHANCE = re.compile(r"\|\s*random\b|\blipsum\s*\(")


def reads_clock(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether the tokenizer's chat template reads the clock."""
    return bool(tokenizer.chat_template) and re.search(rf"\b{CLOCK}\b", _template_of(tokenizer)) is not None


def fix_chat_template(tokenizer: PreTrainedTokenizerBase, chat: ChatConfig, clock: datetime) -> None:
    """Make the tokenizer's chat template give the same prompt at any time, with the settings of ``chat``.

    Args:
        tokenizer: Its template is replaced. One without a template is left as it is.
        chat: The settings.
        clock: The time that the template sees.

    Raises:
        ConfigError: the template draws at random, makes up its date format, or does not read one of the arguments, or
            leaves the system message out.
    """
    if not tokenizer.chat_template:
        return
    template = _template_of(tokenizer)
    if found := _CHANCE.search(template):
        raise ConfigError(
            f"the chat template draws at random ({found[0]!r}), so no prompt could be asked twice; save the tokenizer "
            "with another chat_template, or use template = 'plain' or a text with {prompt} and {answer}"
        )
    for name in chat.arguments:
        if not re.search(rf"\b{re.escape(name)}\b", template):
            raise ConfigError(f"chat.arguments has {name!r}, which the chat template of this tokenizer does not read")
    lines = [f"{{% set {name} = {_literal(value)} %}}" for name, value in chat.arguments.items()]
    if chat.system is not None:
        message = f'{{"role": "system", "content": {_literal(chat.system)}}}'
        lines.append(f'{{% set messages = messages if messages[0]["role"] == "system" else [{message}] + messages %}}')
    lines += _frozen_clock(template, clock)
    if lines:
        # The empty expression at the end keeps a line break at the start of the template.
        tokenizer.chat_template = "".join(lines) + '{{ "" }}' + template
    if chat.system is not None and chat.system.strip() not in render(tokenizer, "a question"):
        raise ConfigError("chat.system is not in the prompt: the chat template of this tokenizer leaves it out")


def render(tokenizer: PreTrainedTokenizerBase, question: str) -> str:
    """Return the text of a prompt that asks the question as a user's message.

    Raises:
        ConfigError: the tokenizer has no chat template, or the template refuses the messages.
    """
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise ConfigError("template is 'chat', and this tokenizer has no chat template; use template = 'plain'")
    message = [{"role": "user", "content": question}]
    try:
        return str(tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))
    except TemplateError as error:
        raise ConfigError(f"the chat template cannot be used with these messages: {error}") from error


def check_tokenizer_is_deterministic(tokenizer: PreTrainedTokenizerBase) -> None:
    """Do nothing if the same text always becomes the same tokens.

    Raises:
        ConfigError: the tokenizer drops merges at random (BPE dropout).
    """
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    dropout = getattr(getattr(backend, "model", None), "dropout", None)
    if dropout:
        raise ConfigError(
            f"the tokenizer drops merges at random (dropout {dropout:g}), so a prompt would have other tokens each "
            "time; save it with dropout off"
        )


def _template_of(tokenizer: PreTrainedTokenizerBase) -> str:
    try:
        return str(tokenizer.get_chat_template())
    except ValueError as error:  # several templates, none of them the default
        raise ConfigError(f"the tokenizer has several chat templates and no default one: {error}") from error


def _frozen_clock(template: str, clock: datetime) -> list[str]:
    """Return a macro that answers like the clock did at one time, for the formats that the template uses."""
    if not re.search(rf"\b{CLOCK}\b", template):
        return []
    formats: set[str] = set()
    for call in _CALL.finditer(template):
        if call[1] is None:
            raise ConfigError(
                "the chat template makes up the format of the date it reads, so the date cannot be fixed; save the "
                "tokenizer with a chat_template that has a fixed date"
            )
        formats.add(call[1][1:-1])
    dates = {text: clock.strftime(text) for text in sorted(formats)}
    return [
        f"{{% set factcensus_dates = {_literal(dates)} %}}",
        f"{{% macro {CLOCK}(format) %}}{{{{ factcensus_dates[format] }}}}{{% endmacro %}}",
    ]


def _literal(value: Value | Mapping[str, str]) -> str:
    """Return a value as Jinja writes it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(key)}: {_literal(inner)}" for key, inner in value.items()) + "}"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return json.dumps(value, ensure_ascii=False)
