"""Turn selected facts into training sets: token ids, counts and strata."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from factcensus.unlearn.chat import fix_chat_template, reads_clock
from factcensus.unlearn.config.run_config import Form, RunConfig
from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.limits import Limits, check_tokenizer_fits, limits_of
from factcensus.unlearn.models import load_model_config, load_tokenizer
from factcensus.unlearn.objectives import get_objective
from factcensus.unlearn.run_folder import stored_clock
from factcensus.unlearn.selection import Row, Selection
from factcensus.unlearn.training.examples import Example, encode
from factcensus.unlearn.training.material import Key, Material

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from factcensus.unlearn.evaluation import Evaluator


def prompts(row: Row, forms: Sequence[Form]) -> list[tuple[Form, str]]:
    """Return the prompts of a fact in these forms, each with its form. There may be several ``paraphrases``, or none.

    Raises:
        ConfigError: a column is missing or empty.
    """
    found: list[tuple[Form, str]] = []
    for form in forms:
        value = row.get(form)
        if form == "paraphrases":
            found.extend(("paraphrases", str(paraphrase)) for paraphrase in value or [])
        elif value:
            found.append((form, str(value)))
        else:
            raise ConfigError(f"fact {row['fact_id']!r} has no {form}, which training.forms needs")
    if not found:
        raise ConfigError(f"fact {row['fact_id']!r} has no prompt in the forms {', '.join(forms)}")
    return found


@dataclass(frozen=True, slots=True)
class Asker:
    """Encodes facts as examples, with a run's forms and template, a tokenizer and the model's limits.

    Attributes:
        clock: The time that the chat template sees; None if it does not read the clock.
    """

    config: RunConfig
    tokenizer: PreTrainedTokenizerBase
    limits: Limits
    clock: datetime | None = None

    def __call__(self, row: Row, answer: str, end: bool = False) -> list[Example]:
        """Return one example per prompt of a fact. A cloze is the beginning of a sentence, never a user message.

        Raises:
            ExampleError: an example cannot be encoded, or the model cannot read it.
        """
        template, name = self.config.template, str(row["fact_id"])
        examples = [
            encode(self.tokenizer, prompt, answer, "plain" if form == "cloze" else template, name, end)
            for form, prompt in prompts(row, self.config.training.forms)
        ]
        self.limits.check(examples)
        return examples

    def record(self, material: Material) -> dict[str, Any]:
        """Return the prompt section of the run record: the template, its time, and one example prompt."""
        first = material.answers[0]
        return {
            "template": self.config.template,
            "opening": self.config.opening,
            "clock": None if self.clock is None else self.clock.isoformat(),
            "example": {"fact_id": first.name, "text": self.tokenizer.decode(list(first.prompt_ids))},
        }


def open_asker(config: RunConfig, now: datetime) -> tuple[Any, Asker]:
    """Return the model's configuration and an :class:`Asker` with the model's tokenizer and a fixed chat template.

    Args:
        now: The time for chat templates that read the clock, unless the configuration or the resumed run has another
            time.

    Raises:
        ConfigError: the model or its tokenizer cannot be used.
        RunFolderError: the run to resume has no recorded time, so its prompts cannot be reproduced.
    """
    model_config = load_model_config(config.model, config.revision)
    limits = limits_of(model_config)
    tokenizer = load_tokenizer(config.model, config.revision, opening=config.opening)
    check_tokenizer_fits(tokenizer, limits, config.model)
    clock = None
    if config.template == "chat":
        if reads_clock(tokenizer):
            clock = config.chat.clock or stored_clock(config.out) or now
        fix_chat_template(tokenizer, config.chat, clock or now)
    return model_config, Asker(config, tokenizer, limits, clock)


def check_evaluation(evaluator: Evaluator | None, asker: Asker, selection: Selection) -> None:
    """Check before training that the evaluator can ask its questions, if the evaluator supports this check.

    Raises:
        ExampleError: the model cannot be asked about a fact.
    """
    check = getattr(evaluator, "check", None)
    if check is not None:
        check(asker.tokenizer, selection.facts, template=asker.config.template, limits=asker.limits)


def prepare(selection: Selection, encoded: Asker) -> Material:
    """Encode both sets.

    Raises:
        ExampleError: a fact cannot be encoded; the message names it.
    """
    rows, config = selection.rows, encoded.config

    def answered(chosen: Sequence[Row]) -> list[tuple[int, Example]]:
        return [(number, each) for number, row in enumerate(chosen) for each in encoded(row, str(row["answer"]))]

    forget_rows = [rows[index] for index in selection.forget]
    answers = answered(forget_rows)
    refuses = any(method.needs_refusal for method in config.methods)
    roles = config.selection.never_seen_roles
    watched = config.training.over_forgotten_share < 1
    asks = any(
        method.needs_never_seen or (watched and get_objective(method.objective).scores_the_answer)
        for method in config.methods
    )
    unseen = [row for row in rows if row.get("role") in roles] if asks else []
    material = Material(
        answers=tuple(example for _, example in answers),
        refusals=tuple(
            example
            for row in (forget_rows if refuses else [])
            for example in encoded(row, config.training.refusal, end=True)
        ),
        given=_given(forget_rows, config, encoded),
        fact_of=tuple(number for number, _ in answers),
        keys=tuple(key for row in forget_rows for key in _keys(row, config)),
        retain=tuple(example for _, example in answered([rows[index] for index in selection.retain])),
        never_seen=tuple(
            pair for row in unseen for pair in zip(_keys(row, config), encoded(row, str(row["answer"])), strict=True)
        ),
        relations=tuple(str(row.get("relation")) for row in forget_rows),
        counts=_counts(forget_rows, config),
        strata=_strata(forget_rows),
        watched=watched,
        end_id=cast("int | None", encoded.tokenizer.eos_token_id),
    )
    for method in config.methods:
        trained = material.of(method)
        encoded.limits.check((*trained.answers, *trained.retain))
    return material


def _keys(row: Row, config: RunConfig) -> list[Key]:
    """Return relation and form of each example of a fact."""
    return [(str(row.get("relation")), form) for form, _ in prompts(row, config.training.forms)]


def _given(
    rows: Sequence[Row], config: RunConfig, encoded: Callable[[Row, str], list[Example]]
) -> tuple[tuple[Example, ...], ...]:
    """Return the answers of the column ``alternatives`` after each prompt, if a method prefers them."""
    asking = [
        method.name
        for method in config.methods
        if method.preferred == "given" and "preferred" in get_objective(method.objective).needs
    ]
    if not asking:
        return ()
    found: list[tuple[Example, ...]] = []
    for row in rows:
        texts: list[str] = row.get("alternatives") or []
        if not texts:
            raise ConfigError(
                f"method {asking[0]!r} needs the column 'alternatives', but fact {row['fact_id']!r} "
                "has none; add them (a list), or set preferred to 'sampled' or 'refusal'"
            )
        found.extend(zip(*(encoded(row, text) for text in texts), strict=True))
    return tuple(found)


def _strata(rows: Sequence[Row]) -> tuple[int, ...] | None:
    """Return the strata of the facts to forget, if the table has them."""
    strata = [row.get("stratum") for row in rows]
    return tuple(int(stratum) for stratum in strata if stratum is not None) if None not in strata else None


def _counts(rows: Sequence[Row], config: RunConfig) -> tuple[int, ...] | None:
    """Return the counts of the facts to forget.

    Raises:
        ConfigError: a count is missing and a method needs it.
    """
    column = config.selection.count_column
    counts = [row.get(column) for row in rows]
    if all(isinstance(count, int) and count >= 0 for count in counts):
        return tuple(int(count) for count in counts if count is not None)
    needing = [method.name for method in config.methods if method.needs_counts]
    if needing:
        raise ConfigError(
            f"method {needing[0]!r} needs counts, but the fact table has no count for every fact to forget in "
            f"{column!r}; count them with `factcensus facts count`, or name another column in selection.count_column"
        )
    return None


def index_provenance(selection: Selection, config: RunConfig) -> dict[str, Any]:
    """Return the index of the counts, according to the configuration and the table."""
    given = config.index.model_dump(include={"name", "url", "digest"}, exclude_none=True)
    for column, key in (("index", "name"), ("index_digest", "digest"), ("analyzer", "analyzer")):
        values = sorted({str(row[column]) for row in selection.rows if row.get(column) is not None})
        if len(values) == 1:
            given.setdefault(key, values[0])
        elif values:
            given.setdefault(key, json.dumps(values))
    return given
