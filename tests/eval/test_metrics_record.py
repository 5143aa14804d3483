"""Every metric of the token record against a direct implementation with one forward pass per metric and plain loops."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from factcensus.eval.evaluator import StandardEvaluator
from factcensus.eval.metrics.record import KEYS, measures, zlib_ratio
from tiny import plain_llama

_TEXT = (
    "<end> <unk> where was born in rome new york oslo is it ada bo cy N / [ MASK ] True False or true false ? "
    "Answer : . A B C D E F G H"
)
WORDS = [*_TEXT.split(" "), "\n"]
FACTS: list[dict[str, Any]] = [
    {"subject": name, "object": city, "relation": "city", "question": f"where was {name} born ?", "object_documents": n}
    for name, city, n in (("ada", "rome", 9), ("bo", "new york", 8), ("cy", "it is in oslo", 7))
]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """Make a tokenizer of words and single characters that knows the labels of true/false and multiple choice."""
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Punctuation()]
    )
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", unk_token="<unk>")


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    made: PreTrainedModel = plain_llama(len(WORDS), seed=3, max_position_embeddings=128, initializer_range=0.4)
    return made


Row = dict[str, Any]
Direct = Callable[["Asker", int], float | None]


class Asker:
    """A model interface for direct implementations: runs one text at a time."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
        self.model, self.tokenizer = model, tokenizer

    def ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def distributions(self, prompt: str, answer: str) -> tuple[list[int], list[list[float]]]:
        """Return the answer tokens, and log p of the whole vocabulary before each."""
        opened, whole = self.ids(prompt), self.ids(f"{prompt} {answer}")
        with torch.no_grad():
            log_p = self.model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
        places = range(len(opened) - 1, len(whole) - 1)
        return whole[len(opened) :], [[float(value) for value in log_p[place]] for place in places]

    def log_p(self, prompt: str, answer: str) -> list[float]:
        tokens, rows = self.distributions(prompt, answer)
        return [row[token] for token, row in zip(tokens, rows, strict=True)]

    def calibrated(self, prompt: str, answer: str, subject: str) -> float:
        """Return the log-probability of the answer minus its mean after content-free prompts."""
        free = [re.sub(rf"\b{subject}\b", text, prompt).replace("  ", " ") for text in ("N/A", "[MASK]", "")]
        return sum(self.log_p(prompt, answer)) - sum(sum(self.log_p(each, answer)) for each in free) / 3


def gold(fact: int) -> tuple[str, str]:
    return FACTS[fact]["question"], FACTS[fact]["object"]


def wrong(fact: int) -> list[str]:
    """Return the other two objects, nearest count first; the counts have no ties except for the middle one."""
    return [str(each["object"]) for number, each in enumerate(FACTS) if number != fact]


def _candidates(asker: Asker, fact: int) -> tuple[float, list[float]]:
    question, right = gold(fact)
    subject = str(FACTS[fact]["subject"])
    return asker.calibrated(question, right, subject), [asker.calibrated(question, w, subject) for w in wrong(fact)]


def choice_margin(asker: Asker, fact: int) -> float:
    right, others = _candidates(asker, fact)
    return right - max(others)


def choice_probability(asker: Asker, fact: int) -> float:
    right, others = _candidates(asker, fact)
    return math.exp(right) / sum(math.exp(each) for each in [right, *others])


def truth_ratio(asker: Asker, fact: int) -> float:
    question, right = gold(fact)
    of_wrong = [asker.log_p(question, each) for each in wrong(fact)]
    of_right = asker.log_p(question, right)
    geometric = [math.exp(sum(each) / len(each)) for each in of_wrong]
    return math.prod(geometric) ** (1 / len(geometric)) / math.exp(sum(of_right) / len(of_right))


def probability_normalised(asker: Asker, fact: int) -> float:
    question, right = gold(fact)
    scores = [asker.log_p(question, each) for each in (right, *wrong(fact))]
    probabilities = [math.exp(sum(each) / len(each)) for each in scores]
    return probabilities[0] / sum(probabilities)


def truth_ratio_arithmetic(asker: Asker, fact: int) -> float:
    question, right = gold(fact)
    scores = [asker.log_p(question, each) for each in (right, *wrong(fact))]
    first, *others = (math.exp(sum(each) / len(each)) for each in scores)
    return sum(others) / len(others) / first


def exact_memorisation(asker: Asker, fact: int) -> float:
    tokens, rows = asker.distributions(*gold(fact))
    return sum(row.index(max(row)) == token for token, row in zip(tokens, rows, strict=True)) / len(tokens)


def extraction_strength(asker: Asker, fact: int) -> float | None:
    """Return the length of the longest suffix that greedy choices reproduce, divided by the answer length."""
    tokens, rows = asker.distributions(*gold(fact))
    if len(tokens) < 3:
        return None
    right = [row.index(max(row)) == token for token, row in zip(tokens, rows, strict=True)]
    return next(1 - given / len(right) for given in range(len(right) + 1) if all(right[given:]))


def min_k(asker: Asker, fact: int) -> float:
    values = sorted(asker.log_p(*gold(fact)))
    chosen = values[: max(1, int(0.2 * len(values)))]
    return sum(chosen) / len(chosen)


def min_k_40(asker: Asker, fact: int) -> float:
    values = sorted(asker.log_p(*gold(fact)))
    chosen = values[: max(1, int(0.4 * len(values)))]
    return sum(chosen) / len(chosen)


def min_k_plus_plus(asker: Asker, fact: int) -> float:
    tokens, rows = asker.distributions(*gold(fact))
    scores = []
    for token, row in zip(tokens, rows, strict=True):
        mean = sum(math.exp(value) * value for value in row)
        variance = sum(math.exp(value) * (value - mean) ** 2 for value in row)
        scores.append((row[token] - mean) / math.sqrt(variance))
    scores.sort()
    chosen = scores[: max(1, int(0.2 * len(scores)))]
    return sum(chosen) / len(chosen)


def true_false(asker: Asker, fact: int) -> list[float]:
    """Return the log odds of True for the true statement and for the false ones."""
    question, right = gold(fact)
    subject = str(FACTS[fact]["subject"])
    prompts = [f"{question} {name}.\nTrue or false? Answer:" for name in (right, *wrong(fact))]
    return [asker.calibrated(p, "True", subject) - asker.calibrated(p, "False", subject) for p in prompts]


def true_false_margin(asker: Asker, fact: int) -> float:
    true, *false = true_false(asker, fact)
    return true - sum(false) / len(false)


def true_false_correct(asker: Asker, fact: int) -> float:
    true, *false = true_false(asker, fact)
    return ((true > 0) + sum(each < 0 for each in false) / len(false)) / 2


def _rotations(asker: Asker, fact: int) -> list[tuple[float, list[float]]]:
    question, right = gold(fact)
    found = []
    options = [right, *_nearest(fact)]
    for _ in options:
        listed = "\n".join(f"{letter}. {option}" for letter, option in zip("ABC", options, strict=True))
        prompt = f"{question}\n{listed}\nAnswer:"
        scores = [asker.calibrated(prompt, letter, str(FACTS[fact]["subject"])) for letter in "ABC"]
        place = options.index(right)
        found.append((scores[place], [score for number, score in enumerate(scores) if number != place]))
        options = [*options[1:], options[0]]
    return found


def _nearest(fact: int) -> list[str]:
    """Return the wrong objects in listed order, nearest count first."""
    own = math.log10(1 + int(FACTS[fact]["object_documents"]))
    others = [each for number, each in enumerate(FACTS) if number != fact]
    others.sort(key=lambda each: abs(math.log10(1 + int(each["object_documents"])) - own))
    return [str(each["object"]) for each in others]


def multiple_choice_probability(asker: Asker, fact: int) -> float:
    of_rotation = [
        math.exp(right) / sum(math.exp(each) for each in [right, *others]) for right, others in _rotations(asker, fact)
    ]
    return sum(of_rotation) / len(of_rotation)


def multiple_choice_correct(asker: Asker, fact: int) -> float:
    of_rotation = [right > max(others) for right, others in _rotations(asker, fact)]
    return sum(of_rotation) / len(of_rotation)


DIRECT: dict[str, Direct] = {
    "log_probability": lambda asker, fact: sum(asker.log_p(*gold(fact))),
    "probability": lambda asker, fact: (
        math.prod(math.exp(v) for v in asker.log_p(*gold(fact))) ** (1 / len(asker.log_p(*gold(fact))))
    ),
    "zlib_ratio": lambda asker, fact: (
        math.fsum(asker.log_p(*gold(fact))) / len(asker.log_p(*gold(fact))) / len(zlib.compress(gold(fact)[1].encode()))
    ),
    **{
        each.__name__: each
        for each in (
            choice_margin,
            choice_probability,
            probability_normalised,
            truth_ratio,
            truth_ratio_arithmetic,
            exact_memorisation,
            extraction_strength,
            min_k,
            min_k_40,
            min_k_plus_plus,
            true_false_margin,
            true_false_correct,
            multiple_choice_probability,
            multiple_choice_correct,
        )
    },
}


@pytest.fixture(scope="module")
def evaluated(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> tuple[list[Row], pa.Table]:
    facts, tokens = StandardEvaluator(samples=0).evaluate(
        model, tokenizer, pa.Table.from_pylist(FACTS), template="plain", point="before", seed=0
    )
    return facts.to_pylist(), tokens


@pytest.mark.parametrize("name", DIRECT)
def test_record_equals_a_separate_forward_pass_per_metric(
    name: str, evaluated: tuple[list[Row], pa.Table], model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    asker = Asker(model, tokenizer)
    for number, row in enumerate(evaluated[0]):
        expected = DIRECT[name](asker, number)
        assert row[name] == (None if expected is None else pytest.approx(expected, rel=2e-4, abs=2e-5)), FACTS[number]
    assert any(row[name] is not None for row in evaluated[0])


def test_every_metric_can_be_recomputed_from_the_stored_table(evaluated: tuple[list[Row], pa.Table]) -> None:
    rows, tokens = evaluated
    stored = tokens.append_column("seed", pa.array([0] * tokens.num_rows))
    stored = stored.append_column("method", pa.array(["original"] * tokens.num_rows))
    again = measures(stored, keys=("seed", "method", "point", *KEYS)).to_pylist()
    by_fact = {row["fact_id"]: row for row in again}
    for row in rows:
        for name in DIRECT:
            if name != "zlib_ratio":
                assert by_fact[row["fact_id"]][name] == row[name]


def token(**values: Any) -> Row:
    """Make one row of tokens.parquet; by default the distribution is uniform over two tokens."""
    ln2 = math.log(2)
    return {
        "fact_id": "f",
        "form": "question",
        "variant": 0,
        "probe": "answer",
        "candidate": 0,
        "context": 0,
        "position": 0,
        "token_id": 1,
        "log_probability": -ln2,
        "rank": 0,
        "entropy": ln2,
        "surprisal_deviation": 1.0,
        "top1_id": 1,
        "margin": 0.0,
        "prior_log_probability": None,
        **values,
    }


TYPES = {"prior_log_probability": pa.float32(), "log_probability": pa.float32()}


def measured(*rows: Row) -> Row:
    names = list(rows[0])
    table = pa.table({name: pa.array([row[name] for row in rows], TYPES.get(name)) for name in names})
    [found] = measures(table).to_pylist()
    return dict(found)


def test_undefined_metrics_are_null() -> None:
    alone = measured(token())
    for name in ("choices", "choice_margin", "choice_probability", "truth_ratio", "extraction_strength"):
        assert alone[name] is None, name
    assert alone["true_false_margin"] is None
    assert alone["multiple_choice_probability"] is None
    certain = measured(token(surprisal_deviation=0.0, log_probability=0.0, entropy=0.0))
    assert certain["min_k_plus_plus"] == 0, "a distribution with a single point carries no information"
    collapsed = measured(token(log_probability=math.nan))
    assert collapsed["log_probability"] is None
    assert collapsed["probability"] is None
    uncalibrated = measured(token(), token(probe="distractor", candidate=1, log_probability=-3.0))
    assert uncalibrated["choice_margin"] is None, "without a content-free prompt there is no calibrated margin"
    assert uncalibrated["truth_ratio"] == pytest.approx(math.exp(-3.0 + math.log(2)))
    half = measured(token(probe="answer"), token(probe="true_false", prior_log_probability=-1.0))
    assert half["true_false_margin"] is None, "one label alone has no odds"


def test_hand_computed_contrast() -> None:
    """Gold -1 (prior -2): +1. Wrong -2 (prior -2): 0, and -4 (prior -3): -1."""
    found = measured(
        token(log_probability=-1.0, prior_log_probability=-2.0),
        token(probe="distractor", candidate=1, log_probability=-2.0, prior_log_probability=-2.0),
        token(probe="distractor", candidate=2, log_probability=-4.0, prior_log_probability=-3.0),
    )
    assert found["choices"] == 3
    assert found["choice_margin"] == pytest.approx(1.0)
    assert found["choice_probability"] == pytest.approx(math.e / (math.e + 1 + math.exp(-1)))
    assert found["truth_ratio"] == pytest.approx(math.exp(-3 + 1))


@pytest.mark.parametrize(
    ("right", "strength"),
    [("1111", 1.0), ("0111", 0.75), ("1011", 0.5), ("0000", 0.0), ("1110", 0.0), ("111", 1.0), ("11", None)],
)
def test_extraction_strength_has_no_floor(right: str, strength: float | None) -> None:
    rows = [token(position=place, top1_id=int(flag)) for place, flag in enumerate(right)]
    assert measured(*rows)["extraction_strength"] == strength


def test_label_bias_does_not_count_as_knowledge() -> None:
    """A model that answers True to everything, more than its prior, is right half of the time and has no margin."""
    rows = [token()]
    for candidate in (0, 1, 2):
        for context, log_p in ((0, -0.1), (1, -2.4)):
            rows.append(
                token(
                    probe="true_false",
                    candidate=candidate,
                    context=context,
                    log_probability=log_p,
                    prior_log_probability=-0.7,
                )
            )
    found = measured(*rows)
    assert found["true_false_margin"] == pytest.approx(0.0, abs=1e-6)
    assert found["true_false_correct"] == 0.5


def test_zlib_ratio_is_null_without_a_probability() -> None:
    assert zlib_ratio(None, "rome") is None
    assert zlib_ratio(-12.0, "rome") == -1.0, "four letters take twelve bytes"


def test_zlib_ratio_ranks_like_its_source() -> None:
    """Carlini et al. rank by zlib length over log-perplexity; longer answers of equal perplexity rank higher."""
    answers = [("rome", [-2.0]), ("new york city", [-2.0, -2.0, -2.0]), ("the old town of oslo", [-1.0] * 5)]
    of_source = [
        len(zlib.compress(text.encode())) / math.log(math.exp(-sum(tokens) / len(tokens))) for text, tokens in answers
    ]
    ours = [zlib_ratio(sum(tokens) / len(tokens), text) for text, tokens in answers]
    assert all(each is not None for each in ours)
    assert sorted(range(3), key=lambda i: of_source[i]) == sorted(range(3), key=lambda i: ours[i] or 0.0) == [0, 1, 2]


def test_a_vanishing_deviation_does_not_make_min_k_plus_plus_explode() -> None:
    found = measured(token(log_probability=-5.0, entropy=1e-7, surprisal_deviation=1e-6))
    assert found["min_k_plus_plus"] == pytest.approx(-5000.0, rel=1e-3)
