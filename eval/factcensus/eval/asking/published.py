"""The two measures of the paper on frequency and unlearning, for comparison with its numbers; off by default.

Both have known faults, which is why other columns measure the same things (docs/paper.md): the statements of the
true/false prompt are all true, and the recall counts words of the prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from factcensus.eval.asking.questions import Asked
from factcensus.eval.asking.token_record import score_answers
from factcensus.unlearn.errors import ExampleError
from factcensus.unlearn.limits import limits_of
from factcensus.unlearn.training.examples import Example, encode

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TRUE_MARGIN, RECALL = "few_shot_true_margin", "rouge_l_recall_with_prompt"
LABELS = ("True", "False")
#: Ten statements about common knowledge, half of them false; the labels are right.
SHOTS = (
    ("How many legs does a spider have?", "Eight", True),
    ("Which gas do plants take in from the air to grow?", "Helium", False),
    ("What is the largest planet of the solar system?", "Jupiter", True),
    ("At how many degrees Celsius does water freeze at sea level?", "Fifty", False),
    ("Which animal is known for building dams in rivers?", "Beaver", True),
    ("In which sport does a player score a touchdown?", "Chess", False),
    ("What do bees make from nectar?", "Honey", True),
    ("Which season follows spring?", "Autumn", False),
    ("Which metal is liquid at room temperature?", "Mercury", True),
    ("Which of the five senses do the ears serve?", "Smell", False),
)


def statement(question: str, answer: str) -> str:
    """Return one statement of the prompt, up to its label. The answer is capitalised and otherwise in lower case."""
    return f"Question: {question.strip()}\nAnswer: {answer.strip().capitalize()}\nTrue or False?"


def few_shot_prompt(question: str, answer: str) -> str:
    """Return ten labelled statements and the statement that the answer is right, without its label."""
    shots = [f"{statement(asked, said)} {LABELS[0] if right else LABELS[1]}\n\n" for asked, said, right in SHOTS]
    return "".join(shots) + statement(question, answer)


def few_shot_true_margins(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    asked: Sequence[Asked],
    facts: Sequence[Mapping[str, Any]],
    *,
    batch_tokens: int,
) -> list[float | None]:
    """Return log p(True) - log p(False) of the statement that a fact's answer is right, nats; one value per question.

    The statement asks the first paraphrase, or else the question. Only questions of the form ``question`` have a value,
    and only if the model can read the prompt and the tokenizer knows both labels.
    """
    pairs: dict[int, tuple[Example, Example]] = {}
    limits = limits_of(model.config)
    for number, question in enumerate(asked):
        if question.form != "question":
            continue
        paraphrases = facts[question.row].get("paraphrases") or ()
        prompt = few_shot_prompt(str(next(iter(paraphrases), question.prompt)), question.answer)
        try:
            true, false = (encode(tokenizer, prompt, label) for label in LABELS)
            limits.check([true, false])
        except ExampleError:
            continue
        pairs[number] = (true, false)
    scores = iter(score_answers(model, [each for pair in pairs.values() for each in pair], batch_tokens=batch_tokens))
    margins = {number: next(scores).total_log_probability - next(scores).total_log_probability for number in pairs}
    return [margins.get(number) for number in range(len(asked))]


def rouge_l_recall_with_prompt(prompt: str, continuation: str, answer: str) -> float | None:
    """Return the ROUGE-L recall of an answer in prompt and continuation, 0 to 1, as the paper's code computes it.

    Periods and commas are removed, the words are lower-case runs of a-z and 0-9, and they are stemmed. None if the
    answer has no such word.
    """
    scorer = _scorer()
    wanted, text = (_without_points(each) for each in (answer, f"{prompt} {continuation}"))
    if not scorer._tokenizer.tokenize(wanted):
        return None
    return float(scorer.score(wanted, text)["rougeL"].recall)


def _without_points(text: str) -> str:
    return text.replace(".", "").replace(",", "").lower()


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=True)


def with_published(table: pa.Table, margins: Sequence[float | None]) -> pa.Table:
    """Return the table of an evaluation with both measures as columns."""
    rows = table.select(["prompt", "generation", "answer"]).to_pylist()
    recalls = [rouge_l_recall_with_prompt(row["prompt"], row["generation"], row["answer"]) for row in rows]
    finite = [None if margin is None or margin != margin else margin for margin in margins]
    table = table.append_column(TRUE_MARGIN, pa.array(finite, pa.float64()))
    return table.append_column(RECALL, pa.array(recalls, pa.float64()))
