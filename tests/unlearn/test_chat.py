"""Chat prompts are reproducible: dates, random numbers and switches cannot change them unnoticed."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from test_architectures import FACTS, byte_level
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from factcensus.unlearn import prepare
from factcensus.unlearn.chat import check_tokenizer_is_deterministic, fix_chat_template, reads_clock, render
from factcensus.unlearn.config.chat_config import ChatConfig
from factcensus.unlearn.config.run_config import check_config
from factcensus.unlearn.errors import ConfigError, ExampleError, RunFolderError
from factcensus.unlearn.models import quiet_transformers
from factcensus.unlearn.planning.plan import make_plan
from factcensus.unlearn.run import run_unlearning
from factcensus.unlearn.training.examples import encode
from factcensus.unlearn.training.ranks import Ranks
from tiny import tiny_model

THEN = datetime(2024, 2, 29, 12, 30)
#: As in Llama 3 and Qwen 3, with a date, a system message and a switch.
TEMPLATE = """
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] %}
    {%- set messages = messages[1:] %}
{%- endif %}
{{- 'today: ' + date_string + '\\n' + (system or '') + '\\n' }}
{%- for message in messages %}
{{- message['role'] + ': ' + message['content'] + '\\n' }}
{%- endfor %}
{{- 'assistant: ' }}
{%- if enable_thinking is defined and enable_thinking is false %}
{{- '<think></think>' }}
{%- endif %}"""


def tokenizer(template: str) -> Any:
    words = Tokenizer(models.WordLevel({"a": 0, "<u>": 1}, unk_token="<u>"))
    made = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<u>")
    made.chat_template = template
    return made


def fixed(template: str, **settings: Any) -> Any:
    made = tokenizer(template)
    fix_chat_template(made, ChatConfig(**settings), THEN)
    return made


def test_templates_that_read_the_clock_get_the_time_of_the_run() -> None:
    assert render(fixed(TEMPLATE), "Who?") == "today: 29 Feb 2024\n\nuser: Who?\nassistant: "
    assert reads_clock(fixed(TEMPLATE))
    assert not reads_clock(tokenizer("{{ messages[0]['content'] }}"))


def test_templates_without_clock_or_settings_do_not_change() -> None:
    plain = "\n{{ messages[0]['content'] }}\n!"
    assert fixed(plain).chat_template == plain


def test_fixing_the_clock_changes_nothing_else() -> None:
    template = "\n\n {{ messages[0]['content'] }} in {{ strftime_now('%Y') }}\n"
    before = datetime.now().year
    live = render(tokenizer(template), "q")
    years = {before, datetime.now().year}  # two around midnight on New Year's Eve
    assert render(fixed(template), "q") in {live.replace(str(year), "2024") for year in years}


def test_arguments_and_a_system_message_reach_the_template() -> None:
    made = fixed(TEMPLATE, system='Be "brief" \N{GRINNING FACE}\n.', arguments={"enable_thinking": False})
    expected = 'today: 29 Feb 2024\nBe "brief" \N{GRINNING FACE}\n.\nuser: Who?\nassistant: <think></think>'
    assert render(made, "Who?") == expected


@pytest.mark.parametrize(
    ("template", "settings", "message"),
    [
        ("{{ ['a', 'b'] | random }}{{ messages[0]['content'] }}", {}, "uses random numbers"),
        ("{{ lipsum(1) }}{{ messages[0]['content'] }}", {}, "uses random numbers"),
        ("{% set f = '%Y' %}{{ strftime_now(f) }}", {}, "computes the format"),
        (TEMPLATE, {"arguments": {"enable_thinkin": True}}, "does not read"),
        ("{{ messages[-1]['content'] }}", {"system": "Be brief."}, "ignores it"),
        (
            "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}",
            {"system": "Be brief."},
            "no system role",
        ),
    ],
)
def test_templates_that_cannot_be_fixed_and_unread_arguments_are_refused(
    template: str, settings: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        fixed(template, **settings)


def test_reserved_names_are_not_valid_chat_arguments() -> None:
    with pytest.raises(ValueError, match="messages"):
        ChatConfig(arguments={"messages": "x"})


def test_tokenizers_with_bpe_dropout_are_refused() -> None:
    made = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE({"a": 0}, [], dropout=0.1)))
    with pytest.raises(ConfigError, match=r"dropout 0\.1"):
        check_tokenizer_is_deterministic(made)


def test_templates_that_change_the_question_are_refused() -> None:
    made = tokenizer("{{ messages[0]['content'][:3] }} ")
    with pytest.raises(ExampleError, match="leaves out or changes"):
        encode(made, "Where was Ada born?", "a", "chat", "f1")


@pytest.mark.parametrize("in_thread", [False, True])
def test_template_that_never_ends_is_an_error(in_thread: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("factcensus.unlearn.chat.RENDER_S", 0.2)
    loop = "{% for a in range(99999) %}"
    endless = tokenizer("{{ messages[0]['content'] }}" + loop * 4 + "{% endfor %}" * 4)

    def check() -> None:
        with pytest.raises(ConfigError, match=r"did not render a prompt within 0\.2 s.*another chat_template"):
            render(endless, "Who?")

    with ThreadPoolExecutor(1) as pool:
        pool.submit(check).result() if in_thread else check()
    monkeypatch.undo()
    assert render(fixed(TEMPLATE), "Who?").startswith("today: 29 Feb 2024")
    with pytest.raises(ConfigError, match="Range too big"):
        render(tokenizer("{% for a in range(10**9) %}{% endfor %}"), "Who?")


class Clock(Ranks):
    """A single process with a given time."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now


@pytest.fixture
def chatting(tmp_path: Path) -> dict[str, Any]:
    """Return a configuration for a model whose template contains the date."""
    folder, facts = tmp_path / "model", tmp_path / "facts.jsonl"
    with quiet_transformers():
        tiny_model("llama", len(byte_level())).save_pretrained(folder)
    byte_level().save_pretrained(folder)
    (folder / "chat_template.jinja").write_text("{{ strftime_now('%Y') }} {{ messages[0]['content'] }}\n")
    facts.write_text("".join(json.dumps(fact) + "\n" for fact in FACTS))
    return {
        "model": str(folder),
        "facts": str(facts),
        "out": str(tmp_path / "run"),
        "template": "chat",
        "methods": ["grad_ascent"],
        "evaluator": "none",
        "training": {"passes": 0.5},
        "save_models": True,
    }


def at(now: datetime, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Start or resume a run at this time and return its record."""
    monkeypatch.setattr("factcensus.unlearn.run.current_ranks", lambda **_: Clock(now))
    folder = run_unlearning(check_config(settings))
    record: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return record


def test_resumed_runs_use_the_same_prompts(chatting: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    first = at(THEN, chatting, monkeypatch)
    assert first["prompt"]["clock"] == THEN.isoformat()
    again = at(datetime(2030, 1, 1), chatting | {"methods": ["grad_ascent", "ce_u"]}, monkeypatch)
    assert again["prompt"] == first["prompt"]
    assert again["tokens"] == first["tokens"]


def test_saved_models_keep_their_original_template(chatting: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    at(THEN, chatting, monkeypatch)
    saved = Path(chatting["out"]) / "cells" / "grad_ascent" / "model" / "chat_template.jinja"
    assert saved.read_text() == (Path(chatting["model"]) / "chat_template.jinja").read_text()


def test_a_clock_in_the_configuration_is_used(chatting: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    record = at(datetime(2030, 1, 1), chatting | {"chat": {"clock": "2001-02-03"}}, monkeypatch)
    assert record["prompt"]["clock"] == "2001-02-03T00:00:00"


def test_runs_without_a_recorded_time_are_not_resumed(
    chatting: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    at(THEN, chatting, monkeypatch)
    path = Path(chatting["out"]) / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "prompt": {}}))
    with pytest.raises(RunFolderError, match="recorded time"):
        at(THEN, chatting, monkeypatch)


def test_runs_are_not_resumed_with_other_tokens(chatting: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    at(THEN, chatting, monkeypatch)
    monkeypatch.setattr(prepare, "stored_clock", lambda _: datetime(1999, 1, 1))
    with pytest.raises(RunFolderError, match="other prompts or answers"):
        at(THEN, chatting, monkeypatch)


def test_chat_settings_require_the_chat_template(chatting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="set template to 'chat'"):
        check_config(chatting | {"template": "plain", "chat": {"system": "Be brief."}})


@pytest.mark.parametrize(
    "template",
    [
        "{% for number in range(10 ** 10) %}{% endfor %}{{ messages[0]['content'] }}",
        "{{ 1 // 0 }}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
        "{{ messages[0]['content'] + 1 }}",
    ],
    ids=["range", "division", "recursion", "type"],
)
def test_failing_templates_are_refused_with_the_reason(chatting: dict[str, Any], template: str) -> None:
    (Path(chatting["model"]) / "chat_template.jinja").write_text(template)
    with pytest.raises(ConfigError, match="the chat template cannot be used with these messages"):
        run_unlearning(check_config(chatting))


TURNS = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}END\n{% endfor %}<assistant>"


@pytest.mark.parametrize(
    ("end", "methods", "warned"),
    [
        ("<end_of_turn>", ["idk", "simnpo"], "idk teaches '<|endoftext|>'"),
        ("<end_of_turn>", ["simnpo", {"preset": "grad_diff", "end_after": ["retain"]}], "grad_diff teaches"),
        ("<end_of_turn>", ["simnpo", {"preset": "idk", "end_after": []}], None),
        ("<|endoftext|>", ["idk"], None),
        ("", ["idk"], None),
    ],
)
def test_answers_that_end_unlike_those_of_the_chat_template_give_a_warning(
    end: str, methods: list[Any], warned: str | None, chatting: dict[str, Any]
) -> None:
    """As in Gemma and Phi-3, whose tokenizers name another end-of-text token than the end of a turn."""
    made = PreTrainedTokenizerFast.from_pretrained(chatting["model"])
    made.add_special_tokens({"extra_special_tokens": ["<end_of_turn>"]})
    made.chat_template = TURNS.replace("END", end)
    model = tiny_model("llama", len(made))
    with quiet_transformers():
        model.save_pretrained(chatting["model"])
        made.save_pretrained(chatting["model"])
    found = make_plan(check_config({**chatting, "methods": methods})).warnings
    assert [warned in each for each in found] == [True] if warned else found == []
