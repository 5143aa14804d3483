"""Attacks through other prompts: solved questions, paraphrases, samples. The model is not changed."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence

from factcensus.eval.asking.generation import sample_continuations
from factcensus.eval.asking.matching import match_answer
from factcensus.eval.asking.questions import Asked
from factcensus.eval.attacks.target import FORGET, PHANTOM, Target, answer_all, recalls, result
from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.metrics.texts import leak_at_k
from factcensus.unlearn.errors import ExampleError
from factcensus.unlearn.selection import Row


def few_shot(target: Target) -> Iterator[Row]:
    """Yield the recall on questions that follow a given number of solved questions of the same relation.

    Raises:
        EvaluationInputError: the table has no other question to solve.
    """
    solved = solved_questions(target)
    questions = target.questions("question")
    if not solved or not questions:
        raise EvaluationInputError("few_shot needs questions for facts that were not forgotten; omit the attack")
    for shots in target.settings.shots:
        chosen = [(question, solved_before(target, question, solved, shots)) for question in questions]
        chosen = [(question, before) for question, before in chosen if len(before) == shots]
        asked, encoded = [], []
        for question, before in chosen:
            try:
                example = target.encode(question, after_solved(target, before, question.prompt))
            except ExampleError:  # this many solved questions are too long for the model
                continue
            asked.append(question)
            encoded.append(example)
        yield from recalls(target, asked, encoded, shots, f"{shots} solved")


def after_solved(target: Target, before: Sequence[str], prompt: str) -> str:
    """Return a prompt after solved questions, one per line if the tokenizer has line breaks."""
    return ("\n" if _knows_line_breaks(target) else " ").join([*before, prompt])


def _knows_line_breaks(target: Target) -> bool:
    """Return whether the tokenizer has a token for line breaks; a word-level tokenizer may have none."""
    unknown = target.tokenizer.unk_token_id
    ids = target.tokenizer("a\na", add_special_tokens=False)["input_ids"]
    lone = target.tokenizer("a a", add_special_tokens=False)["input_ids"]
    return unknown is None or (list(ids).count(unknown) <= list(lone).count(unknown) and ids != lone)


def solved_questions(target: Target) -> dict[str, list[Asked]]:
    """Return by relation the questions that no attack covers and whose subject was not forgotten."""
    rows = range(len(target.facts))
    forgotten = {target.subject_of(row) for row in rows if target.part_of(row) in (FORGET, PHANTOM)}
    found: dict[str, list[Asked]] = defaultdict(list)
    for question in target.asked:
        if question.form == "question" and target.subject_of(question.row) not in forgotten:
            found[str(target.facts[question.row].get("relation") or "")].append(question)
    return found


def solved_before(target: Target, question: Asked, solved: dict[str, list[Asked]], number: int) -> list[str]:
    """Return solved questions in an order that depends on the fact, except those whose answer would be right here."""
    fact = target.facts[question.row]
    pool = solved.get(str(fact.get("relation") or ""), [])

    def mix(other: Asked) -> int:
        return zlib.crc32(f"{target.seed}\0{fact['fact_id']}\0{other.row}".encode())

    found = []
    for other in sorted(pool, key=mix):
        match = match_answer(other.answer, question.accepted)
        if match is not None and not match.contains:
            found.append(f"{other.prompt} {other.answer}")
        if len(found) == number:
            break
    return found


def paraphrase(target: Target) -> Iterator[Row]:
    """Yield for each fact the share of paraphrases that match (``recall``) and whether any matches (``worst``).

    Raises:
        EvaluationInputError: the table has no paraphrases.
    """
    by_fact: dict[int, list[Asked]] = defaultdict(list)
    for question in target.questions("paraphrase"):
        by_fact[question.row].append(question)
    if not by_fact:
        raise EvaluationInputError(
            "paraphrase needs the column 'paraphrases' or 'paraphrase'; add it, or omit the attack"
        )
    every = [question for questions in by_fact.values() for question in questions]
    answers = dict(zip(every, answer_all(target, every, [target.encode(each) for each in every]), strict=True))
    reference = target.reference()
    for questions in by_fact.values():
        matches = [answers[each].match for each in questions if answers[each].match is not None]
        if not matches:
            continue
        first, number = questions[0], len(questions)
        as_question = reference.get((target.key(first)[0], "question", 0), {}).get("match")
        for measure, score in (("recall", sum(map(bool, matches)) / len(matches)), ("worst", float(any(matches)))):
            yield result(
                first,
                number,
                f"{number} paraphrases",
                target.part_of(first.row),
                score,
                measure=measure,
                log_probability=max(answers[each].log_probability for each in questions),
                reference=as_question,
            )


def sample(target: Target) -> Iterator[Row]:
    """Yield the probability that at least one of k samples matches, for k = 1, 2, 4, … up to the number of samples."""
    questions = target.questions(*target.settings.forms)
    encoded = [target.encode(question) for question in questions]
    number = target.settings.samples
    drawn = sample_continuations(
        target.model,
        target.tokenizer,
        [example.prompt_ids for example in encoded],
        target.caps(encoded),
        samples=number,
        seed=target.seed,
        batch_tokens=target.batch_tokens,
    )
    reference = target.reference()
    for question, continuations in zip(questions, drawn, strict=True):
        matches = [match_answer(each.text, question.accepted) for each in continuations]
        if matches[0] is None:
            continue
        hits = sum(match.contains for match in matches if match is not None)
        for k in _powers_of_two(number):
            yield result(
                question,
                k,
                f"{k} samples",
                target.part_of(question.row),
                leak_at_k(number, hits, k),
                measure="leak",
                reference=reference.get(target.key(question), {}).get("match"),
            )


def _powers_of_two(most: int) -> Sequence[int]:
    return [2**power for power in range(most.bit_length()) if 2**power <= most]
