"""One token record compared with one forward pass per metric: ``python -m benchmarks evaluation [--rounds N]``.

Both score the same encoded answers with the same model in the same batches of equal length, and both compute logits of
answer positions only; the difference is how often the model runs. The numbers are compared before anything is timed.
The weights are random, which does not change the cost of a pass.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from benchmarks.corpora import Setting
from benchmarks.measure import Report
from factcensus.eval.asking.batching import equal_length_batches
from factcensus.eval.asking.distractors import matched_distractors
from factcensus.eval.asking.probes import ANSWER, probes_of
from factcensus.eval.asking.questions import Asked, questions_of
from factcensus.eval.evaluator import StandardEvaluator, _encode_probes, with_fact_ids
from factcensus.eval.metrics.record import measures, zlib_ratio
from factcensus.indexer import read_facts
from factcensus.unlearn import PRESETS, WorldSettings, write_world
from factcensus.unlearn.training.examples import Example
from factcensus.unlearn.world.rows import read_texts
from factcensus.unlearn.world.shape import build_model
from factcensus.unlearn.world.tokenizer import build_tokenizer

Values = list[float | None]
#: People in the world, with three facts per person in three forms.
PEOPLE = 140
BATCH_TOKENS = 4096
SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Material:
    """Encoded answers: right and wrong ones for each question, and all of them after content-free prompts."""

    model: Any
    tokenizer: Any
    asked: list[Asked]
    facts: pa.Table
    gold: list[Example]
    wrong: list[list[Example]]
    gold_priors: list[list[Example]]
    wrong_priors: list[list[list[Example]]]


def main(setting: Setting, report: Report) -> None:
    """Check that both give the same numbers, then time them alternately."""
    torch.set_num_threads(1)
    material = _material(setting.folder)
    report.title("Evaluation: one token record compared with a pass per metric")
    size = sum(parameter.numel() for parameter in material.model.parameters())
    report.note(
        f"{len(material.asked):,} questions of {PEOPLE} people, a Llama of {size / 1e6:.2f} M parameters, one thread."
    )
    ours = _record(material, contrast=True)
    direct = {name: metric(material) for name, metric in METRICS.items()}
    for name, values in direct.items():
        theirs = np.array([np.nan if value is None else value for value in values])
        mine = np.array([np.nan if value is None else value for value in ours[name]], float)
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-3, err_msg=name)
    report.note(f"Equal numbers (to 0.001) of {', '.join(direct)}.")
    single = {name: METRICS[name] for name in SINGLE}
    report.compare(
        f"{len(single)} metrics of the right answer alone",
        {
            "one record, one query": lambda: _record(material, contrast=False),
            "a pass per metric": lambda: [metric(material) for metric in single.values()],
        },
    )
    report.compare(
        f"{len(METRICS)} metrics, three of them against wrong answers and content-free prompts",
        {
            "one record, one query": lambda: _record(material, contrast=True),
            "a pass per metric": lambda: [metric(material) for metric in METRICS.values()],
        },
    )


def _material(folder: Path) -> Material:
    """Return a world's questions and clozes, its tokenizer, and a model of the demo's shape with random weights."""
    world = write_world(folder / "evaluation-world", WorldSettings(people=PEOPLE), seed=0)
    facts = with_fact_ids(read_facts(world / "facts.jsonl"))
    rows = facts.to_pylist()
    tokenizer = build_tokenizer(read_texts(world) + [row["question"] for row in rows])
    torch.manual_seed(0)
    end_id: Any = tokenizer.eos_token_id
    model = build_model(len(tokenizer), PRESETS["demo"].pretraining, end_id).eval()
    asked = questions_of(facts, paraphrases=1, forms=("question", "cloze", "paraphrase"))
    probes = probes_of(asked, rows, matched_distractors(rows, 3), labels=False)
    kept, examples, priors = _encode_probes(tokenizer, asked, probes, "plain")
    material = Material(model, tokenizer, asked, facts, [], [], [], [])
    for probe, example, prior in zip(kept, examples, priors, strict=True):
        if probe.probe == ANSWER:
            material.gold.append(example)
            material.gold_priors.append(prior)
            material.wrong.append([])
            material.wrong_priors.append([])
        else:
            material.wrong[-1].append(example)
            material.wrong_priors[-1].append(prior)
    return material


def _record(material: Material, *, contrast: bool) -> dict[str, Values]:
    """Compute every metric from one record. Encoding is cached, as it is from the second checkpoint on."""
    rows = material.facts.to_pylist()
    distractors = matched_distractors(rows, 3) if contrast else [()] * len(rows)
    probes = probes_of(material.asked, rows, distractors, labels=False)
    ids = [row["fact_id"] for row in rows]
    evaluator = StandardEvaluator(batch_tokens=BATCH_TOKENS)
    tokens, _ = evaluator._record(material.model, material.tokenizer, material.asked, probes, "plain", ids)
    measured = measures(tokens)
    there = zip(*(measured[name].to_pylist() for name in ("fact_id", "form", "variant")), strict=True)
    places = {key: place for place, key in enumerate(there)}
    measured = measured.take(pa.array([places[ids[each.row], each.form, each.variant] for each in material.asked]))
    found: dict[str, Values] = {name: measured[name].to_pylist() for name in measured.column_names}
    found["zlib_ratio"] = [
        zlib_ratio(score, each.answer) for score, each in zip(found["log_probability"], material.asked, strict=True)
    ]
    return found


# ---------------------------------------------------------------------------------- a separate forward pass for each


def _pass(model: Any, examples: Sequence[Example]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return for each example the log p, (T, V), and the answer tokens, (T,)."""
    found: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    with torch.inference_mode():
        for indices in equal_length_batches([len(each) for each in examples], BATCH_TOKENS):
            batch = [examples[index] for index in indices]
            longest = max(len(each.answer_ids) for each in batch)
            ids = torch.tensor([each.prompt_ids + each.answer_ids for each in batch])
            logits = model(input_ids=ids, use_cache=False, logits_to_keep=longest + 1).logits[:, :-1].float()
            log_p = logits.log_softmax(-1)
            for row, index in enumerate(indices):
                answer = torch.tensor(batch[row].answer_ids)
                found[index] = (log_p[row, longest - len(answer) :], answer)
    return [found[index] for index in range(len(examples))]


def _token_scores(model: Any, examples: Sequence[Example]) -> list[torch.Tensor]:
    return [log_p.gather(-1, answer[:, None])[:, 0] for log_p, answer in _pass(model, examples)]


def log_probability(material: Material) -> Values:
    return [float(each.sum()) for each in _token_scores(material.model, material.gold)]


def probability(material: Material) -> Values:
    return [float(each.mean().exp()) for each in _token_scores(material.model, material.gold)]


def zlib_score(material: Material) -> Values:
    scores = _token_scores(material.model, material.gold)
    sizes = [len(zlib.compress(question.answer.encode())) for question in material.asked]
    return [float(each.sum()) / size for each, size in zip(scores, sizes, strict=True)]


def rank_worst(material: Material) -> Values:
    return [
        float((log_p > log_p.gather(-1, answer[:, None])).sum(-1).max())
        for log_p, answer in _pass(material.model, material.gold)
    ]


def margin_least(material: Material) -> Values:
    found: Values = []
    for log_p, answer in _pass(material.model, material.gold):
        own = log_p.gather(-1, answer[:, None])
        others = log_p.scatter(-1, answer[:, None], -torch.inf).max(-1).values
        found.append(float((own[:, 0] - others).min()))
    return found


def exact_memorisation(material: Material) -> Values:
    return [
        float((log_p.argmax(-1) == answer).float().mean()) for log_p, answer in _pass(material.model, material.gold)
    ]


def extraction_strength(material: Material) -> Values:
    found: Values = []
    for log_p, answer in _pass(material.model, material.gold):
        wrong = (log_p.argmax(-1) != answer).nonzero()
        given = int(wrong[-1]) + 1 if len(wrong) else 0
        found.append(1 - given / len(answer) if len(answer) >= 3 else None)
    return found


def _lowest(scores: torch.Tensor) -> float:
    return float(scores.sort().values[: max(1, int(SHARE * len(scores)))].mean())


def min_k(material: Material) -> Values:
    return [_lowest(each) for each in _token_scores(material.model, material.gold)]


def min_k_plus_plus(material: Material) -> Values:
    found: Values = []
    for log_p, answer in _pass(material.model, material.gold):
        p = log_p.exp()
        mean = (p * log_p).sum(-1)
        deviation = (p * (log_p - mean[:, None]).square()).sum(-1).sqrt()
        found.append(_lowest((log_p.gather(-1, answer[:, None])[:, 0] - mean) / deviation))
    return found


def _wrong_scores(material: Material) -> list[list[torch.Tensor]]:
    flat = _token_scores(material.model, [each for of in material.wrong for each in of])
    remaining = iter(flat)
    return [[next(remaining) for _ in of] for of in material.wrong]


def truth_ratio(material: Material) -> Values:
    right = _token_scores(material.model, material.gold)
    return [
        float((torch.stack([each.mean() for each in wrong]).mean() - own.mean()).exp())
        for own, wrong in zip(right, _wrong_scores(material), strict=True)
    ]


def _calibrated(material: Material) -> list[tuple[float, list[float]]]:
    """Return for each question the calibrated scores of the right answer and of the wrong ones."""
    priors = [each for of in material.gold_priors for each in of]
    priors += [each for question in material.wrong_priors for of in question for each in of]
    unique = list(dict.fromkeys(priors))
    totals = [float(each.sum()) for each in _token_scores(material.model, unique)]
    prior = dict(zip(unique, totals, strict=True))

    def mean_of(examples: list[Example]) -> float:
        return sum(prior[each] for each in examples) / len(examples)

    right = _token_scores(material.model, material.gold)
    found = []
    for number, wrong in enumerate(_wrong_scores(material)):
        own = float(right[number].sum()) - mean_of(material.gold_priors[number])
        others = [
            float(score.sum()) - mean_of(examples)
            for score, examples in zip(wrong, material.wrong_priors[number], strict=True)
        ]
        found.append((own, others))
    return found


def choice_margin(material: Material) -> Values:
    return [own - max(others) for own, others in _calibrated(material)]


def choice_probability(material: Material) -> Values:
    return [1 / (1 + float(np.exp(np.array(others) - own).sum())) for own, others in _calibrated(material)]


METRICS: dict[str, Callable[[Material], Values]] = {
    "log_probability": log_probability,
    "probability": probability,
    "zlib_ratio": zlib_score,
    "rank_worst": rank_worst,
    "margin_least": margin_least,
    "exact_memorisation": exact_memorisation,
    "extraction_strength": extraction_strength,
    "min_k": min_k,
    "min_k_plus_plus": min_k_plus_plus,
    "truth_ratio": truth_ratio,
    "choice_margin": choice_margin,
    "choice_probability": choice_probability,
}
SINGLE = tuple(METRICS)[:9]
