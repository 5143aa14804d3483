"""Chat templates made reproducible: a fixed time, no random numbers, and the settings of the run.

A chat template is a program. Some templates read the clock (``strftime_now``), so prompts would change from day to day;
some have switches (``enable_thinking``) and take a system message. All settings of a run are written at the start of
the template, so every use of the tokenizer renders the same prompts.
"""

from __future__ import annotations

import ctypes
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from factcensus.unlearn.config.chat_config import CLOCK, ChatConfig, Value
from factcensus.unlearn.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Seconds after which the rendering of one prompt is stopped; it usually takes less than a millisecond.
RENDER_S = 20.0
_CALL = re.compile(rf"\b{CLOCK}\s*\(\s*(?:(\"[^\"]*\"|'[^']*')\s*\))?")
_CHANCE = re.compile(r"\|\s*random\b|\blipsum\s*\(")


def reads_clock(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether the tokenizer's chat template reads the clock."""
    return bool(tokenizer.chat_template) and re.search(rf"\b{CLOCK}\b", _template_of(tokenizer)) is not None


def fix_chat_template(tokenizer: PreTrainedTokenizerBase, chat: ChatConfig, clock: datetime) -> None:
    """Fix the tokenizer's chat template so that prompts never change, with the settings of ``chat``.

    Args:
        tokenizer: The tokenizer whose template is replaced, if it has one.
        chat: The settings.
        clock: The time that the template sees.

    Raises:
        ConfigError: the template uses random numbers, computes its date format, does not read one of the arguments, or
            ignores the system message.
    """
    if not tokenizer.chat_template:
        return
    template = _template_of(tokenizer)
    if found := _CHANCE.search(template):
        raise ConfigError(
            f"the chat template uses random numbers ({found[0]!r}), so prompts would differ each time; save the "
            "tokenizer with another chat_template, or use template = 'plain' or a text with {prompt} and {answer}"
        )
    for name in chat.arguments:
        if not re.search(rf"\b{re.escape(name)}\b", template):
            raise ConfigError(f"chat.arguments has {name!r}, which the tokenizer's chat template does not read")
    lines = [f"{{% set {name} = {_literal(value)} %}}" for name, value in chat.arguments.items()]
    if chat.system is not None:
        message = f'{{"role": "system", "content": {_literal(chat.system)}}}'
        lines.append(f'{{% set messages = messages if messages[0]["role"] == "system" else [{message}] + messages %}}')
    lines += _frozen_clock(template, clock)
    if lines:
        # The empty expression preserves a line break at the start of the template.
        tokenizer.chat_template = "".join(lines) + '{{ "" }}' + template
    if chat.system is not None and chat.system.strip() not in render(tokenizer, "a question"):
        raise ConfigError("chat.system is not in the prompt, because the tokenizer's chat template ignores it")


def render(tokenizer: PreTrainedTokenizerBase, question: str) -> str:
    """Return the text of a prompt with the question as a user message.

    Raises:
        ConfigError: the tokenizer has no chat template, the template refuses the messages, or it takes too long.
    """
    return _rendered(tokenizer, [{"role": "user", "content": question}], to_answer=True)


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the special token that the chat template puts after an answer; None if it puts none."""
    answer = "answer"
    messages = [{"role": "user", "content": "question"}, {"role": "assistant", "content": answer}]
    try:
        text = _rendered(tokenizer, messages, to_answer=False)
    except ConfigError:  # a template may accept questions only
        return None
    rest = text.rpartition(answer)[2]
    ids = tokenizer(rest, add_special_tokens=False)["input_ids"] if rest else []
    return int(ids[0]) if ids and ids[0] in {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder} else None


def _rendered(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], *, to_answer: bool) -> str:
    """Return the text of messages, with the opening of an answer if ``to_answer``; errors as in :func:`render`."""
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise ConfigError("template is 'chat', but the tokenizer has no chat template; use template = 'plain'")
    try:
        with _stopped_after(RENDER_S):
            return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=to_answer))
    except _TooLongError:
        raise ConfigError(
            f"the chat template did not render a prompt within {RENDER_S:g} s, probably because of an endless loop; "
            "save the tokenizer with another chat_template, or use template = 'plain' or a text with {prompt} and "
            "{answer}"
        ) from None
    except (
        TemplateError,
        ArithmeticError,
        LookupError,
        AttributeError,
        TypeError,
        ValueError,
        RecursionError,
        MemoryError,
    ) as error:
        raise ConfigError(f"the chat template cannot be used with these messages: {error}") from error


class _TooLongError(BaseException):
    """Stops a block that takes too long. It is not an Exception, so no library catches it."""


@contextmanager
def _stopped_after(seconds: float) -> Iterator[None]:
    """Raise _TooLongError in the block, between two Python instructions, if it takes longer.

    A template is compiled to Python, and the sandbox of transformers does not limit its loops. A signal would only work
    in the main thread, and a process per prompt would take seconds.
    """
    thread = threading.get_ident()
    lock, state = threading.Lock(), {"running": True, "stopped": False}

    def stop() -> None:
        with lock:
            if state["running"]:
                state["stopped"] = True
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(_TooLongError))

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with lock:
            state["running"] = False
        timer.cancel()
        if state["stopped"]:  # the error may come only now, a moment after the block
            with suppress(_TooLongError):
                for _ in range(1000):
                    time.sleep(0)
            raise _TooLongError


def check_tokenizer_is_deterministic(tokenizer: PreTrainedTokenizerBase) -> None:
    """Check that the tokenizer always encodes a text in the same way.

    Raises:
        ConfigError: the tokenizer uses BPE dropout.
    """
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    dropout = getattr(getattr(backend, "model", None), "dropout", None)
    if dropout:
        raise ConfigError(
            f"the tokenizer uses BPE dropout (dropout {dropout:g}), so a prompt would be tokenized differently each "
            "time; save it with dropout off"
        )


def _template_of(tokenizer: PreTrainedTokenizerBase) -> str:
    try:
        return str(tokenizer.get_chat_template())
    except ValueError as error:  # several templates without a default
        raise ConfigError(f"the tokenizer has several chat templates but no default: {error}") from error


def _frozen_clock(template: str, clock: datetime) -> list[str]:
    """Return a macro that replaces the clock with a fixed time, for the date formats of the template."""
    if not re.search(rf"\b{CLOCK}\b", template):
        return []
    formats: set[str] = set()
    for call in _CALL.finditer(template):
        if call[1] is None:
            raise ConfigError(
                "the chat template computes the format of its date, so the date cannot be fixed; save the tokenizer "
                "with a chat_template that has a fixed date"
            )
        formats.add(call[1][1:-1])
    dates = {text: clock.strftime(text) for text in sorted(formats)}
    return [
        f"{{% set factcensus_dates = {_literal(dates)} %}}",
        f"{{% macro {CLOCK}(format) %}}{{{{ factcensus_dates[format] }}}}{{% endmacro %}}",
    ]


def _literal(value: Value | Mapping[str, str]) -> str:
    """Return a value as a Jinja literal."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(key)}: {_literal(inner)}" for key, inner in value.items()) + "}"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return json.dumps(value, ensure_ascii=False)
