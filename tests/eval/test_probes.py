from __future__ import annotations

from typing import Any

from transformers import PreTrainedTokenizerFast

from factcensus.eval.asking.distractors import matched_distractors
from factcensus.eval.asking.neighbours import neighbour_distances
from factcensus.eval.asking.probes import content_free, knows_labels, probes_of
from factcensus.eval.asking.questions import Asked


def fact(subject: str, name: str, count: int | None = None, **more: Any) -> dict[str, Any]:
    return {"subject": subject, "object": name, "relation": "city", "object_documents": count, **more}


def test_distractors_are_the_nearest_in_frequency_of_the_same_relation() -> None:
    facts = [fact(f"s{n}", f"o{n}", 10**n) for n in range(6)]
    facts.append({**fact("s9", "acme", 1000), "relation": "employer"})
    found = matched_distractors(facts, 2)
    assert set(found[0]) == {"o1", "o2"}
    assert set(found[3]) == {"o2", "o4"}
    assert found[3][0] in ("o2", "o4")
    assert set(found[5]) == {"o4", "o3"}
    assert found[6] == (), "no other object of its relation: nothing to compare with"


def test_no_distractor_is_right() -> None:
    facts = [
        fact("Ada", "Rome", 5, object_aliases=["Roma"]),
        fact("ada", "Oslo", 5),  # the same subject has two objects
        fact("Bo", "ROMA", 5),
        fact("Cy", "rome", 5),
        fact("Di", "Lima", 900),
    ]
    found = matched_distractors(facts, 3)
    assert found[0] == ("Lima",)
    assert found[1] == ("Lima",)
    assert "Rome" not in found[3]


def test_distractors_without_counts_are_reproducible_and_differ_by_subject() -> None:
    facts = [fact(f"s{n}", f"o{n}") for n in range(40)]
    first = matched_distractors(facts, 3)
    assert first == matched_distractors(facts, 3)
    assert len(set(first)) > 30
    assert all(len(each) == 3 for each in first)


def test_distractors_of_the_table_come_first() -> None:
    facts = [fact("a", "x", 1, distractors=["y", "x", "z"]), fact("b", "w", 1)]
    assert matched_distractors(facts, 3)[0] == ("y", "z", "w")


def test_content_free_prompts_replace_every_mention_of_the_subject() -> None:
    named = {"subject": "Ada Li", "subject_aliases": ["Ada"]}
    assert content_free("Where was ada li born?", named) == (
        "Where was N/A born?",
        "Where was [MASK] born?",
        "Where was born?",
    )
    assert content_free("Ada, daughter of Ada Li:", named)[0] == "N/A, daughter of N/A:"
    assert content_free("Where was she born?", named) == ()


def question(**more: Any) -> Asked:
    values = {"row": 0, "form": "question", "variant": 0, "prompt": "Where?", "answer": "in Rome", "plain": False}
    return Asked(**{**values, "accepted": ("Rome",), **more})


def test_options_are_rotated_through_all_letters() -> None:
    found = [
        each
        for each in probes_of([question()], [fact("a", "Rome")], [("Oslo", "Lima")], labels=True)
        if each.probe == "multiple_choice"
    ]
    assert {each.prompt for each in found} == {
        "Where?\nA. Rome\nB. Oslo\nC. Lima\nAnswer:",
        "Where?\nA. Oslo\nB. Lima\nC. Rome\nAnswer:",
        "Where?\nA. Lima\nB. Rome\nC. Oslo\nAnswer:",
    }
    for candidate, name in enumerate(("Rome", "Oslo", "Lima")):
        of_candidate = [each for each in found if each.candidate == candidate]
        assert sorted(each.answer for each in of_candidate) == ["A", "B", "C"]
        assert all(f"{each.answer}. {name}" in each.prompt for each in of_candidate)


def test_true_and_false_statements_are_asked_with_both_labels() -> None:
    found = probes_of([question()], [fact("a", "Rome", cloze="A was born in")], [("Oslo",)], labels=True)
    asked = [(each.prompt, each.answer) for each in found if each.probe == "true_false"]
    assert asked == [
        ("A was born in Rome.\nTrue or false? Answer:", "True"),
        ("A was born in Rome.\nTrue or false? Answer:", "False"),
        ("A was born in Oslo.\nTrue or false? Answer:", "True"),
        ("A was born in Oslo.\nTrue or false? Answer:", "False"),
    ]


def test_wrong_answers_keep_the_wording_of_the_right_one() -> None:
    found = probes_of([question()], [fact("a", "Rome")], [("Oslo",)], labels=False)
    assert [(each.probe, each.candidate, each.answer) for each in found] == [
        ("answer", 0, "in Rome"),
        ("distractor", 1, "in Oslo"),
    ]


def test_reversed_question_has_no_wrong_answers() -> None:
    found = probes_of([question(form="reversed", answer="Ada")], [fact("Ada", "Rome")], [("Oslo",)], labels=True)
    assert [each.probe for each in found] == ["answer"]


def test_tokenizer_without_labels_gets_no_label_probes(tokenizer: PreTrainedTokenizerFast) -> None:
    assert not knows_labels(tokenizer)


def test_neighbour_distance_depends_on_shared_parts() -> None:
    facts = [
        {"subject": "Ada", "object": "Rome", "relation": "city", "used": "forget"},
        {"subject": "ada", "object": "Acme", "relation": "employer", "used": "none"},
        {"subject": "Bo", "object": "rome", "relation": "city", "used": "retain"},
        {"subject": "Bo", "object": "Oslo", "relation": "city", "used": "retain"},
        {"subject": "Bo", "object": "Rome", "relation": "home", "used": "none"},
        {"subject": "P", "object": "Rome", "relation": "city", "used": "none", "role": "phantom"},
    ]
    assert neighbour_distances(facts) == [0, 1, 2, 3, 4, None]
    assert neighbour_distances([{**each, "used": None} for each in facts]) == [None] * 6
