"""The standard evaluator: asks a model every question of a fact table and returns the tables of a run folder.

``unlearn run`` finds it through the entry point ``factcensus.evaluators``; ``eval run`` and the demo use it directly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from factcensus.eval.asking.distractors import matched_distractors
from factcensus.eval.asking.generation import Continuation, continue_greedily, sample_continuations, token_limit
from factcensus.eval.asking.matching import match_answer, rouge_l
from factcensus.eval.asking.neighbours import neighbour_distances
from factcensus.eval.asking.probes import ANSWER, Probe, knows_labels, probes_of
from factcensus.eval.asking.published import RECALL, TRUE_MARGIN, few_shot_true_margins, with_published
from factcensus.eval.asking.questions import FORMS, Asked, questions_of
from factcensus.eval.asking.token_record import TokenScores, score_answers
from factcensus.eval.metrics.record import KEYS, METRICS, measures, zlib_ratio
from factcensus.eval.metrics.texts import is_degenerate, token_f1
from factcensus.indexer.tables.added import refuse_columns
from factcensus.indexer.tables.complete import complete_facts
from factcensus.unlearn.errors import ExampleError
from factcensus.unlearn.limits import NO_LIMITS, Limits, limits_of
from factcensus.unlearn.training.examples import Example, encode

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: Columns of a fact table with prompts and answers; the rows have the prompt that was used instead.
_ASKING = (
    "question",
    "cloze",
    "answer",
    "paraphrases",
    "paraphrase",
    "reversed",
    "document",
    "distractors",
    "subject_aliases",
    "object_aliases",
)


#: The column with the texts of the samples, if they are kept.
SAMPLED = "sampled"


@dataclass(frozen=True, slots=True)
class StandardEvaluator:
    """An evaluator that records answer tokens, greedy continuations and samples for every question.

    Attributes:
        paraphrases: Maximum number of paraphrases asked per fact; the first ones are taken.
        batch_tokens: Maximum number of tokens per batch.
        forms: Forms of asking; forms that the table lacks are skipped.
        distractors: Maximum number of wrong answers compared with each right one.
        labels: Whether to ask true/false and multiple-choice questions, if the tokenizer knows their labels.
        samples: Number of continuations sampled for each question about a forget fact or a phantom; 0 for none.
        sampled_forms: Forms of asking in which continuations are sampled.
        as_published: Whether to add the two measures of the paper on frequency and unlearning
            (:mod:`factcensus.eval.asking.published`).
        log_samples: Whether to keep the text of every sample, in the column ``sampled``.
    """

    paraphrases: int = 1
    batch_tokens: int = 4096
    forms: tuple[str, ...] = FORMS
    distractors: int = 3
    labels: bool = True
    samples: int = 8
    sampled_forms: tuple[str, ...] = ("question", "cloze")
    as_published: bool = False
    log_samples: bool = False

    def evaluate(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        facts: pa.Table,
        *,
        template: str,
        point: str,
        seed: int,
    ) -> tuple[pa.Table, pa.Table]:
        """Ask a model every question and measure the answers.

        Args:
            facts: The fact table of the run, with ``used``, and with strata if there are any.
            template: How a question becomes a prompt (:mod:`factcensus.unlearn.training.examples`); a cloze is always
                plain.
            point: "before" or "after"; written into the rows.
            seed: Seed of the samples; the same at every checkpoint of a run, so that samples are paired.

        Returns:
            One row per (fact, form, variant), and one row per scored token; docs/runs.md lists the columns.
        """
        facts = complete_facts(facts)
        rows = facts.to_pylist()
        asked = questions_of(facts, paraphrases=self.paraphrases, forms=self.forms)
        probes = probes_of(
            asked, rows, matched_distractors(rows, self.distractors), labels=self.labels and knows_labels(tokenizer)
        )
        limits = limits_of(model.config)
        encode_all = _Encoder(tokenizer, template, limits)
        tokens, encoded = self._record(model, encode_all, asked, probes, [row["fact_id"] for row in rows])
        prompts = [example.prompt_ids for example in encoded]
        caps = [token_limit(len(each.answer_ids), limits.room(len(each.prompt_ids))) for each in encoded]
        continuations = continue_greedily(model, tokenizer, prompts, caps, batch_tokens=self.batch_tokens)
        drawn = [number for number, question in enumerate(asked) if self._is_sampled(question, rows[question.row])]
        samples = sample_continuations(
            model,
            tokenizer,
            [prompts[number] for number in drawn],
            [caps[number] for number in drawn],
            samples=max(1, self.samples),
            seed=seed,
            batch_tokens=self.batch_tokens,
        )
        said = [_said(*each) for each in zip(asked, continuations, strict=True)]
        for number, of_question in zip(drawn, samples, strict=True):
            said[number] |= _sampled(asked[number], of_question)
            said[number][SAMPLED] = [each.text for each in of_question]
        tokens = tokens.append_column("point", pa.array([point] * tokens.num_rows, pa.string()))
        measured = _fact_table(facts, asked, said, tokens, neighbour_distances(rows), point)
        if self.log_samples:
            texts = pa.array([each.get(SAMPLED) for each in said], pa.list_(pa.string()))
            measured = measured.append_column(SAMPLED, texts)
        if self.as_published:
            margins = few_shot_true_margins(model, tokenizer, asked, rows, batch_tokens=self.batch_tokens)
            measured = with_published(measured, margins)
        return measured, _token_columns(tokens)

    def check(
        self, tokenizer: PreTrainedTokenizerBase, facts: pa.Table, *, template: str, limits: Limits = NO_LIMITS
    ) -> None:
        """Check that every question can be asked, before a model is loaded and anything is written.

        Args:
            limits: The limits of what the model can read.

        Raises:
            EvaluationInputError: the table has nothing to ask in these forms.
            InputError: the table already has a column that evaluation adds.
            ExampleError: an answer cannot be encoded, or the model cannot read it.
        """
        facts = complete_facts(facts)
        added = ((TRUE_MARGIN, RECALL) if self.as_published else ()) + ((SAMPLED,) if self.log_samples else ())
        refuse_columns(facts, ("seed", "method", *MEASURED, *added), "evaluation")
        asked = questions_of(facts, paraphrases=self.paraphrases, forms=self.forms)
        rows = facts.to_pylist()
        _Encoder(tokenizer, template, limits).probes(asked, probes_of(asked, rows, [()] * len(rows), labels=False))

    def _is_sampled(self, question: Asked, fact: Mapping[str, Any]) -> bool:
        of_interest = fact.get("used") in (None, "forget") or fact.get("role") == "phantom"
        return self.samples > 0 and question.form in self.sampled_forms and of_interest

    def _record(
        self,
        model: PreTrainedModel,
        encoder: _Encoder,
        asked: Sequence[Asked],
        probes: Sequence[Probe],
        fact_ids: Sequence[str],
    ) -> tuple[pa.Table, list[Example]]:
        """Score all probes in one pass; return the token record and the encoded questions."""
        kept, examples, priors = encoder.probes(asked, probes)
        every = list(dict.fromkeys([*examples, *(each for prior in priors for each in prior)]))
        scores = score_answers(model, every, batch_tokens=self.batch_tokens)
        of_example = dict(zip(every, scores, strict=True))
        table = _token_table(
            asked,
            kept,
            [of_example[each] for each in examples],
            [
                _prior(example, [of_example[each] for each in prior])
                for example, prior in zip(examples, priors, strict=True)
            ],
            fact_ids,
        )
        return table, [example for probe, example in zip(kept, examples, strict=True) if probe.probe == ANSWER]

    def finish(self, run_folder: Path) -> None:
        """Write summary.json and report.html from the tables of the run."""
        from factcensus.eval.report.page import write_results
        from factcensus.eval.runs import read_run

        write_results(read_run(run_folder), run_folder)


# --- encoding ---


@lru_cache(1 << 17)
def _encode(tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str, template: str) -> Example:
    """Encode an example once for all checkpoints of a run; without this cache, encoding took most of an evaluation."""
    return encode(tokenizer, prompt, answer, template)


@dataclass(frozen=True, slots=True)
class _Encoder:
    """An encoder of prompts and answers that respects the limits of the model."""

    tokenizer: PreTrainedTokenizerBase
    template: str
    limits: Limits

    def probes(
        self, asked: Sequence[Asked], probes: Sequence[Probe]
    ) -> tuple[list[Probe], list[Example], list[list[Example]]]:
        """Return the probes that can be encoded, their examples, and the same answers after content-free prompts.

        Wrong answers and statements that cannot be encoded are left out.

        Raises:
            ExampleError: the right answer to a question cannot be encoded, or the model cannot read it.
        """
        kept, examples, priors = [], [], []
        for probe in probes:
            try:
                example = self._example(probe.prompt, probe)
            except ExampleError as error:
                if probe.probe == ANSWER:
                    question = asked[probe.asked]
                    name = f"row {question.row + 1}, {question.form}"
                    raise ExampleError(str(error).replace("fact ''", f"fact {name!r}", 1)) from error
                continue
            kept.append(probe)
            examples.append(example)
            priors.append(self._content_free(probe, example))
        return kept, examples, priors

    def _example(self, prompt: str, probe: Probe) -> Example:
        example = _encode(self.tokenizer, prompt, probe.answer, "plain" if probe.plain else self.template)
        self.limits.check([example])
        return example

    def _content_free(self, probe: Probe, example: Example) -> list[Example]:
        """Return the answer after each content-free prompt, where it is encoded to the same tokens."""
        found = []
        for prompt in probe.content_free:
            try:
                prior = self._example(prompt, probe)
            except ExampleError:
                continue
            if prior.answer_ids == example.answer_ids:
                found.append(prior)
        return found


def _prior(example: Example, scores: Sequence[TokenScores]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the mean over stand-ins of log p(token), nats, shape (T,); NaN without stand-ins."""
    if not scores:
        return np.full(len(example.answer_ids), np.nan, np.float32)
    total = scores[0].log_probability  # for a few tiny arrays, the fixed cost of np.mean would dominate
    for each in scores[1:]:
        total = total + each.log_probability
    return total / np.float32(len(scores))


# --- the tables ---


def _said(question: Asked, continuation: Continuation) -> dict[str, Any]:
    """Return all measures of a greedy continuation; undefined ones are None."""
    match = match_answer(continuation.text, question.accepted)
    rouge = rouge_l(continuation.text, question.answer)
    return {
        "form": question.form,
        "variant": question.variant,
        "prompt": question.prompt,
        "answer": question.answer,
        "generation": continuation.text,
        "generation_finished": continuation.finished,
        "degenerate": is_degenerate(continuation.text),
        "exact_match": None if match is None else match.exact,
        "match": None if match is None else match.contains,
        "rouge_l_recall": None if rouge is None else rouge.recall,
        "rouge_l_f1": None if rouge is None else rouge.f1,
        "token_f1": token_f1(continuation.text, question.answer),
    }


def _sampled(question: Asked, continuations: Sequence[Continuation]) -> dict[str, Any]:
    """Count the samples that contain an accepted answer."""
    matches = [match_answer(each.text, question.accepted) for each in continuations]
    if matches[0] is None:
        return {}
    return {"samples": len(matches), "sample_matches": sum(match.contains for match in matches if match is not None)}


_SAID = pa.schema(
    [
        ("form", pa.string()),
        ("variant", pa.int16()),
        ("prompt", pa.string()),
        ("answer", pa.string()),
        ("generation", pa.string()),
        ("generation_finished", pa.bool_()),
        ("degenerate", pa.bool_()),
        ("exact_match", pa.bool_()),
        ("match", pa.bool_()),
        ("rouge_l_recall", pa.float64()),
        ("rouge_l_f1", pa.float64()),
        ("token_f1", pa.float64()),
        ("samples", pa.int32()),
        ("sample_matches", pa.int32()),
    ]
)


#: Every column that an evaluation adds to those of the facts, but the answer, which is completed.
MEASURED = (
    "point",
    *(name for name in _SAID.names if name not in _ASKING),
    *METRICS,
    "zlib_ratio",
    "neighbour_distance",
)


def _fact_table(
    facts: pa.Table,
    asked: Sequence[Asked],
    said: list[dict[str, Any]],
    tokens: pa.Table,
    distances: Sequence[int | None],
    point: str,
) -> pa.Table:
    """Join the columns of the facts with the measures; one row per fact and form."""
    fact_ids = facts["fact_id"].to_pylist()
    measured = _in_order(measures(tokens), [(fact_ids[each.row], each.form, each.variant) for each in asked])
    scores = measured["log_probability_mean"].to_pylist()
    ratios = [zlib_ratio(score, each.answer) for score, each in zip(scores, asked, strict=True)]
    generated = pa.Table.from_pylist(said, schema=_SAID)
    new: dict[str, Any] = {"point": pa.array([point] * len(asked), pa.string())}
    new |= {name: generated[name] for name in generated.column_names}
    new |= {name: measured[name] for name in measured.column_names if name not in KEYS}
    new["zlib_ratio"] = pa.array(ratios, pa.float64())
    new["neighbour_distance"] = pa.array([distances[each.row] for each in asked], pa.int8())
    dropped = [name for name in facts.column_names if name in _ASKING or name in new]
    table = facts.drop_columns(dropped).take(pa.array([question.row for question in asked]))
    for name, column in new.items():
        table = table.append_column(name, column)
    return table


def _in_order(measured: pa.Table, keys: Sequence[tuple[str, str, int]]) -> pa.Table:
    """Return the measures in the order of the questions."""
    there = zip(*(measured[name].to_pylist() for name in KEYS), strict=True)
    places = {key: place for place, key in enumerate(there)}
    return measured.take(pa.array([places[key] for key in keys]))


def _token_table(
    asked: Sequence[Asked],
    probes: Sequence[Probe],
    scores: Sequence[TokenScores],
    priors: Sequence[np.ndarray[Any, np.dtype[np.float32]]],
    fact_ids: Sequence[str],
) -> pa.Table:
    """Return the token record, one row per scored token."""
    lengths = [len(each.token_id) for each in scores]
    of_probe: dict[str, tuple[list[Any], pa.DataType]] = {
        "fact_id": ([fact_ids[asked[probe.asked].row] for probe in probes], pa.string()),
        "form": ([asked[probe.asked].form for probe in probes], pa.string()),
        "variant": ([asked[probe.asked].variant for probe in probes], pa.int16()),
        "probe": ([probe.probe for probe in probes], pa.string()),
        "candidate": ([probe.candidate for probe in probes], pa.int16()),
        "context": ([probe.context for probe in probes], pa.int16()),
    }
    owner = pa.array(np.repeat(np.arange(len(probes)), lengths))
    columns: dict[str, Any] = {name: pa.array(values, kind).take(owner) for name, (values, kind) in of_probe.items()}
    columns["position"] = pa.array(np.concatenate([np.arange(length) for length in lengths]), pa.int32())
    integers = {"token_id", "rank", "top1_id"}
    for field in fields(TokenScores):
        values = np.concatenate([getattr(each, field.name) for each in scores])
        columns[field.name] = pa.array(values, pa.int32() if field.name in integers else pa.float32())
    columns["prior_log_probability"] = pa.array(np.concatenate(priors), pa.float32(), from_pandas=True)
    return pa.table(columns)


def _token_columns(tokens: pa.Table) -> pa.Table:
    """Return the record with ``point`` next to the columns that identify the fact."""
    names = [name for name in tokens.column_names if name != "point"]
    return tokens.select([names[0], "point", *names[1:]])
