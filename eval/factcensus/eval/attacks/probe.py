"""A linear probe: whether the hidden state after a question still encodes the object that the model does not name.

For each relation and layer, a logistic regression predicts the object from the state of the last prompt token. It is
trained on facts that some text states, cross-validated by subject, and scored on forgotten facts and phantoms. The
control uses objects shuffled among the facts and shows how much a probe learns without information. Relations whose
objects are not shared by several subjects cannot be probed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from factcensus.eval.asking.batching import equal_length_batches
from factcensus.eval.asking.questions import Asked
from factcensus.eval.attacks.target import PHANTOM, Target, result
from factcensus.eval.errors import EvaluationInputError
from factcensus.unlearn.selection import Row

#: Minimum number of facts per object, so that training and test folds can both have it.
FACTS_PER_OBJECT = 2


def probe(target: Target) -> Iterator[Row]:
    """Yield for each fact and layer whether the probe (``accuracy``) and its control (``control``) are right.

    Raises:
        EvaluationInputError: no relation has at least two objects that two subjects share.
    """
    questions = [each for each in target.asked if each.form == _form(target)]
    by_relation: dict[str, list[int]] = defaultdict(list)
    for number, question in enumerate(questions):
        by_relation[str(target.facts[question.row].get("relation") or "")].append(number)
    usable = {name: kept for name, of in by_relation.items() if (kept := _shared_objects(target, questions, of))}
    if not usable:
        raise EvaluationInputError(
            "probe needs a relation with at least two objects that two or more subjects share; omit the attack"
        )
    states = hidden_states(target, questions)  # (layers, n, D)
    layers = _layers(len(states), target.settings.probe_layers)
    for numbers in usable.values():
        names = [str(target.facts[questions[number].row]["object"]) for number in numbers]
        classes = np.unique(names, return_inverse=True)[1]
        subjects = [target.subject_of(questions[number].row) for number in numbers]
        shuffled = np.random.default_rng([target.seed, 22]).permutation(classes)
        folds = _folds(subjects, target.settings.probe_folds, target.seed)
        stated = np.array([target.part_of(questions[number].row) != PHANTOM for number in numbers])
        for layer in layers:
            features = states[layer][numbers]
            right = predicted(features, classes, folds, stated) == classes
            control = predicted(features, shuffled, folds, stated) == shuffled
            for place, number in enumerate(numbers):
                question = questions[number]
                part = target.part_of(question.row)
                if part is None:
                    continue
                for measure, score in (("accuracy", right[place]), ("control", control[place])):
                    yield result(
                        question,
                        layer,
                        f"layer {layer}",
                        part,
                        bool(score),
                        measure=measure,
                        reference=bool(control[place]),
                    )


def _form(target: Target) -> str:
    forms = {each.form for each in target.asked}
    return next(form for form in ("question", "cloze", *sorted(forms)) if form in forms)


def _shared_objects(target: Target, questions: Sequence[Asked], numbers: Sequence[int]) -> list[int]:
    """Return the facts whose object occurs in at least two facts; empty if only one object does."""
    names = {number: str(target.facts[questions[number].row]["object"]) for number in numbers}
    often = Counter(names.values())
    kept = [number for number in numbers if often[names[number]] >= FACTS_PER_OBJECT]
    return kept if len({names[number] for number in kept}) > 1 else []


def _layers(number: int, most: int) -> list[int]:
    """Return evenly spaced layers, always with the last one; 0 is the embeddings."""
    return sorted({round(place) for place in np.linspace(number - 1, 0, min(most, number), endpoint=number <= most)})


def _folds(subjects: Sequence[str], folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Return a fold for each row; all rows of a subject are in the same fold."""
    names = sorted(set(subjects))
    order = np.random.default_rng([seed, 23]).permutation(len(names))
    fold = {names[index]: place % folds for place, index in enumerate(order)}
    return np.array([fold[name] for name in subjects])


def predicted(
    features: npt.NDArray[np.float32],
    classes: npt.NDArray[np.int64],
    folds: npt.NDArray[np.int64],
    usable: npt.NDArray[np.bool_],
) -> npt.NDArray[np.int64]:
    """Return the class that a probe trained on the usable rows of the other folds predicts for each row, (n,).

    -1 if these rows have fewer than two classes.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found = np.full(len(classes), -1)
    for fold in np.unique(folds):
        test = folds == fold
        train = ~test & usable
        if len(np.unique(classes[train])) < 2:
            continue
        # Strong regularisation, because there are about as many dimensions as facts.
        classifier: Any = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
        classifier.fit(features[train], classes[train])
        found[test] = classifier.predict(features[test])
    return found


@torch.inference_mode()
def hidden_states(target: Target, questions: Sequence[Asked]) -> npt.NDArray[np.float32]:
    """Return the states of the last prompt token, (layers + 1, n, D); the first layer is the embeddings."""
    model, mode = target.model, target.model.training
    model.train(False)
    prompts = [target.encode(question).prompt_ids for question in questions]
    found: dict[int, npt.NDArray[np.float32]] = {}
    try:
        for indices in equal_length_batches([len(prompt) for prompt in prompts], target.batch_tokens):
            ids = torch.tensor([prompts[index] for index in indices], device=model.device)
            output = model(input_ids=ids, output_hidden_states=True, use_cache=False)
            last = torch.stack([layer[:, -1] for layer in output.hidden_states]).float().cpu().numpy()
            found.update({index: last[:, place] for place, index in enumerate(indices)})
    finally:
        model.train(mode)
    return np.stack([found[index] for index in range(len(prompts))], axis=1)
