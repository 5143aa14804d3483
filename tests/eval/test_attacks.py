from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from factcensus.eval.asking.generation import sample_continuations
from factcensus.eval.asking.questions import questions_of
from factcensus.eval.attacks import prompts, relearn
from factcensus.eval.attacks.membership import auc_of, newcombe
from factcensus.eval.attacks.probe import _folds, _layers, hidden_states, predicted
from factcensus.eval.attacks.quantise import round_weights, rounded
from factcensus.eval.attacks.run import ATTACKS, check_attacks, run_attack
from factcensus.eval.attacks.target import AttackSettings, Target, restored
from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.evaluator import StandardEvaluator
from factcensus.eval.metrics.texts import leak_at_k
from factcensus.indexer.tables.complete import complete_facts

CITIES = ("rome", "oslo", "new york")


def table() -> pa.Table:
    """Make six forgotten facts (three subjects, two each), three kept ones and three phantoms, in two strata."""
    rows = []
    names = ("ada", "bo", "cy", "born", "new", "is", "it", "in", "where")
    for number, name in enumerate(names):
        role = ("forget", "retain", "phantom")[number // 3]
        for relation, verb in (("city", "born"), ("home", "is")):
            rows.append(
                {
                    "fact_id": f"{name}-{relation}",
                    "subject": name,
                    "object": CITIES[number % 3],
                    "relation": relation,
                    "role": role,
                    "used": role if role != "phantom" else "none",
                    "question": f"where was {name} {verb}",
                    "cloze": f"{name} {verb} in",
                    "paraphrases": [f"{name} {verb} where", f"in {verb} was {name}"],
                    "stratum": number % 2,
                    "stratum_label": f"s{number % 2}",
                    "object_documents": 5 + number % 3,
                }
            )
    return pa.Table.from_pylist(rows)


def make_target(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, **settings: Any) -> Target:
    facts = complete_facts(table())
    evaluator = StandardEvaluator(samples=0, paraphrases=2)
    measured, _ = evaluator.evaluate(model, tokenizer, facts, template="plain", point="after", seed=0)
    asked = questions_of(facts, paraphrases=2)
    settings = {"relearn_rate": 0.04, "relearn_steps": (3, 14), "samples": 8, "shots": (1, 2), **settings}
    return Target(
        model, tokenizer, facts.to_pylist(), asked, measured.to_pylist(), "plain", 0, AttackSettings(**settings)
    )


def parameters_of(model: PreTrainedModel) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_returns_the_documented_rows_and_restores_the_model(
    name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    target = make_target(model, tokenizer)
    before = parameters_of(model)
    facts, strata = run_attack(name, target)
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))
    assert model.training, "the mode is left as it was"
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert facts.num_rows > 0
    for row in strata.to_pylist():
        chosen = [
            each["score"]
            for each in facts.to_pylist()
            if all(each[key] == row[key] for key in ("level", "form", "part", "measure"))
            and row["stratum"] in (None, each["stratum"])
        ]
        assert row["n"] == len(chosen)
        if not row["measure"].startswith("auc"):
            assert row["value"] == pytest.approx(np.mean(chosen))
        if row["value"] is not None and row["low"] is not None:
            assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
    assert {row["part"] for row in facts.to_pylist()} <= {"forget", "relearned", "held_out", "phantom"}


def test_unknown_attack_suggests_the_nearest_name() -> None:
    with pytest.raises(EvaluationInputError, match="'bribe'; did you mean 'probe'"):
        check_attacks(["relearn", "bribe"])


def test_model_is_restored_even_after_an_interrupt(model: PreTrainedModel) -> None:
    before = parameters_of(model)

    def interrupted() -> None:
        with restored(model):
            for parameter in model.parameters():
                parameter.data.zero_()
            model.eval()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))
    assert model.training


# --- relearning ---


def test_relearned_facts_are_recalled_and_their_subjects_are_not_held_out(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    facts, strata = run_attack("relearn", make_target(model, tokenizer))
    subjects = {part: set() for part in ("relearned", "held_out", "phantom")}
    for row in facts.to_pylist():
        subjects[row["part"]].add(row["subject"])
    assert len(subjects["relearned"]) == 1
    assert subjects["relearned"] | subjects["held_out"] == {"ada", "bo", "cy"}
    assert not subjects["relearned"] & subjects["held_out"]
    recall = {
        (row["level"], row["part"]): row["value"]
        for row in strata.to_pylist()
        if row["stratum"] is None and row["form"] == "question"
    }
    assert recall[14.0, "relearned"] == 1.0
    assert [row["level"] for row in strata.to_pylist() if row["level"] == 0.0]
    for row in strata.to_pylist():
        if row["level"] == 0:
            assert row["value"] == row["reference"], "level 0 is the model without attack"


def test_relearning_requires_a_subject_to_hold_out(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    target = make_target(model, tokenizer)
    alone = [{**fact, "used": "none" if fact["subject"] in ("bo", "cy") else fact["used"]} for fact in target.facts]
    target = Target(model, tokenizer, alone, target.asked, target.measured, "plain", 0, target.settings)
    with pytest.raises(EvaluationInputError, match="at least 2 forgotten ones, got 1"):
        run_attack("relearn", target)


def test_relearned_subjects_cover_all_strata() -> None:
    facts = [
        {"fact_id": str(n), "subject": f"s{n}", "object": "rome", "used": "forget", "stratum": n // 20}
        for n in range(80)
    ]
    target = Target(None, None, facts, [], [], "plain", 5)  # type: ignore[arg-type]
    chosen = relearn._subjects(target)
    assert Counter(int(name[1:]) // 20 for name in chosen) == {0: 5, 1: 5, 2: 5, 3: 5}


# --- quantisation ---


@given(st.integers(0, 2**31), st.sampled_from([2, 3, 4, 8]), st.sampled_from([0, 1]))
def test_weights_are_rounded_to_the_nearest_level(seed: int, bits: int, inputs: int) -> None:
    weight = torch.randn(5, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = rounded(weight, bits, inputs)
    channels = zip(weight.unbind(1 - inputs), found.unbind(1 - inputs), strict=True)
    for before, after in channels:
        step = float(before.abs().max()) / (2 ** (bits - 1) - 1)
        levels = after / step
        assert torch.allclose(levels, levels.round(), atol=1e-9)
        assert float((before - after).abs().max()) <= step / 2 * (1 + 1e-9)


def test_zero_channels_stay_zero_and_invalid_bits_are_refused() -> None:
    weight = torch.tensor([[0.0, 0.0], [1.0, -0.4]])
    assert rounded(weight, 2, 1).tolist() == [[0.0, 0.0], [1.0, 0.0]]
    with pytest.raises(ValueError, match="bits must be 2 to 8, got 9"):
        rounded(weight, 9, 1)


def test_embeddings_and_the_output_layer_are_not_rounded(model: PreTrainedModel) -> None:
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    assert round_weights(model, 4) in (8, 14), "4 matrices per layer in GPT-2, 7 in Llama"
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed
    assert not any("embed" in name or "wte" in name or "wpe" in name or "lm_head" in name for name in changed)
    assert all(name.endswith("weight") for name in changed)


# --- other prompts ---


def test_solved_questions_are_about_others_and_never_contain_the_answer(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    target = make_target(model, tokenizer)
    solved = prompts.solved_questions(target)
    assert {target.facts[each.row]["subject"] for each in solved["city"]} == {"born", "new", "is"}
    for question in target.questions("question"):
        shots = prompts.solved_before(target, question, solved, 2)
        assert len(shots) == 2
        assert not any(shot.endswith(question.answer) for shot in shots)
        assert all(" was " in shot for shot in shots)
        assert shots == prompts.solved_before(target, question, solved, 2)
    facts, _ = run_attack("few_shot", target)
    assert set(facts["level"].to_pylist()) == {1.0, 2.0}


def test_worst_is_any_matching_paraphrase_and_recall_their_share(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    target = make_target(model, tokenizer)
    by_variant: dict[str, list[bool]] = {}
    for row in target.measured:
        if row["form"] == "paraphrase":
            by_variant.setdefault(row["fact_id"], []).append(row["match"])
    facts, _ = run_attack("paraphrase", target)
    for row in facts.to_pylist():
        matches = by_variant[row["fact_id"]]
        assert row["score"] == (any(matches) if row["measure"] == "worst" else sum(matches) / 2)


def test_leak_is_estimated_from_the_samples(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    target = make_target(model, tokenizer)
    facts, _ = run_attack("sample", target)
    row = next(each for each in facts.to_pylist() if each["form"] == "cloze" and each["level"] == 4)
    question = next(each for each in target.questions("cloze") if target.facts[each.row]["fact_id"] == row["fact_id"])
    example = target.encode(question)
    limit = 2 * len(example.answer_ids) + 4
    [drawn] = sample_continuations(model, tokenizer, [example.prompt_ids], [limit], samples=8, seed=0)
    hits = sum(question.answer in each.text for each in drawn)
    assert row["score"] == pytest.approx(leak_at_k(8, hits, 4))
    assert sorted(set(facts["level"].to_pylist())) == [1.0, 2.0, 4.0, 8.0]


# --- the probe ---


def test_probe_finds_encoded_objects_and_no_others() -> None:
    generator = np.random.default_rng(0)
    classes = np.tile(np.arange(4), 30)
    folds = np.repeat(np.arange(5), 24)
    written = np.eye(4)[classes] @ generator.normal(size=(4, 12)) + 0.3 * generator.normal(size=(120, 12))
    everything = np.ones(120, bool)
    assert (predicted(written.astype(np.float32), classes, folds, everything) == classes).mean() > 0.95
    shuffled = generator.permutation(classes)
    assert (predicted(written.astype(np.float32), shuffled, folds, everything) == shuffled).mean() < 0.45


def test_probe_is_not_trained_on_its_test_fold_or_on_phantoms() -> None:
    """Features identify the row, so a probe cannot learn anything about one row from another."""
    features = np.eye(40, dtype=np.float32) * 10
    classes = np.tile([0, 1], 20)
    folds = np.arange(40) % 4
    usable = classes == 0  # if the others were used for training, class 1 would be known
    usable[:2] = True
    found = predicted(features, classes, folds, usable)
    assert set(found[2:].tolist()) <= {0, -1}


def test_all_facts_about_a_subject_are_in_one_fold() -> None:
    subjects = [f"s{number // 3}" for number in range(60)]
    folds = _folds(subjects, 5, seed=1)
    assert all(len({fold for name, fold in zip(subjects, folds, strict=True) if name == s}) == 1 for s in subjects)
    assert sorted(Counter(folds.tolist()).values()) == [12] * 5


@pytest.mark.parametrize(
    ("number", "most", "layers"), [(3, 5, [0, 1, 2]), (5, 5, [0, 1, 2, 3, 4]), (33, 4, [8, 16, 24, 32]), (9, 1, [8])]
)
def test_probed_layers_are_evenly_spaced_and_include_the_last(number: int, most: int, layers: list[int]) -> None:
    assert _layers(number, most) == layers


def test_hidden_states_do_not_depend_on_the_batch(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    target = make_target(model, tokenizer)
    questions = target.questions("cloze", "question")[:5]
    found = hidden_states(target, questions)
    for number, question in enumerate(questions):
        ids = torch.tensor([target.encode(question).prompt_ids])
        with torch.no_grad():
            output = model.eval()(input_ids=ids, output_hidden_states=True)
        expected = torch.stack([layer[0, -1] for layer in output.hidden_states])
        np.testing.assert_allclose(found[:, number], expected.numpy(), rtol=1e-4, atol=1e-5)


# --- membership ---


def test_auc_is_the_share_of_pairs_within_relations() -> None:
    members = [("a", "m1", 3.0), ("a", "m2", 1.0), ("b", "m1", 0.0)]
    others = [("a", "o1", 1.0), ("a", "o2", 2.0), ("b", "o1", -1.0), ("c", "o3", 9.0)]
    value, (low, high), number = auc_of(members, others)  # type: ignore[misc]
    assert value == pytest.approx((1 + 0.25 + 1) / 3), "a tie counts half; other relations do not count"
    assert number == 3
    assert (low, high) == newcombe(value, 2, 2)
    assert auc_of([("x", "m", 1.0)], others) is None


@given(st.floats(0, 1), st.integers(2, 200), st.integers(2, 200))
def test_newcombes_interval_contains_the_auc_and_is_symmetric(auc: float, members: int, others: int) -> None:
    low, high = newcombe(auc, members, others)
    assert 0 <= low <= auc + 1e-9
    assert auc - 1e-9 <= high <= 1
    assert high - low > 0
    mirrored = newcombe(1 - auc, members, others)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-6)


def test_newcombes_interval_covers_the_true_auc() -> None:
    """400 worlds of 30 members and 40 others, normal scores one deviation apart: true AUC Phi(1/sqrt 2) = 0.760."""
    generator = np.random.default_rng(7)
    covered = 0
    for _ in range(400):
        members = [("r", f"m{n}", value) for n, value in enumerate(generator.normal(1, 1, 30))]
        others = [("r", f"o{n}", value) for n, value in enumerate(generator.normal(0, 1, 40))]
        _, (low, high), _ = auc_of(members, others)  # type: ignore[misc]
        covered += low <= 0.7602 <= high
    assert 0.92 <= covered / 400 <= 0.99


def test_membership_without_phantoms_names_the_missing_rows(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    target = make_target(model, tokenizer)
    facts = [
        {**fact, "role": None, "used": "retain" if fact["role"] == "phantom" else fact["used"]} for fact in target.facts
    ]
    with pytest.raises(EvaluationInputError, match=r"role 'phantom'\); add them, or omit the attack"):
        run_attack("membership", Target(model, tokenizer, facts, target.asked, target.measured, "plain", 0))
