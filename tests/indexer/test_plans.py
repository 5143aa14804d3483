"""Plans of counting: every plan gives the numbers of the oracle, and the chosen plan is almost the best."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factcensus.indexer import CountIndex, Entity, delete_documents
from factcensus.indexer.counting import workspace
from factcensus.indexer.counting.fact_counts import count_pairs
from factcensus.indexer.counting.scope import EVERY_DOCUMENT, Scope
from factcensus.indexer.kernels.forms import forms_of_entities
from factcensus.indexer.kernels.groups import TOKENS_PER_ROW
from factcensus.indexer.storage import frequent

from . import reference
from .corpora import index_folder, index_of, make_index
from .strategies import QUICK, Corpus, corpora

#: Maximum cost of the chosen plan relative to the better one.
WORSE_THAN_BEST = 2.5


@contextmanager
def small(buffer_rows: int = 1 << 19, frequent_from: int = 1024) -> Iterator[None]:
    """Make buffers small, so that documents are split and buffers grow, and n-grams frequent early."""
    before = workspace.BUFFER_ROWS, frequent.FREQUENT
    workspace.BUFFER_ROWS, frequent.FREQUENT = buffer_rows, frequent_from
    try:
        yield
    finally:
        workspace.BUFFER_ROWS, frequent.FREQUENT = before


def documents_of(corpus: Corpus) -> list[reference.Document]:
    analyse = reference.ANALYZERS[corpus.analyzer]
    return [
        reference.Document(analyse(text), source) for text, source in zip(corpus.texts, corpus.sources, strict=True)
    ]


def expected(corpus: Corpus, documents: Sequence[reference.Document]) -> list[list[int]]:
    """Return the numbers of every ordered pair of entities in some documents."""
    analyse = reference.ANALYZERS[corpus.analyzer]
    forms = [[analyse(form) for form in entity] for entity in corpus.entities]
    return [
        list(reference.fact(documents, subject, object_, corpus.windows).values())
        for subject, object_ in product(forms, repeat=2)
    ]


def laid_out(index: CountIndex, subjects: Sequence[Entity], objects: Sequence[Entity]) -> tuple[Any, Any, Any]:
    """Return the forms of all distinct entities, and the entity numbers of subjects and objects."""
    number = {entity: n for n, entity in enumerate(dict.fromkeys([*subjects, *objects]))}
    forms = forms_of_entities([index.forms(entity) for entity in number])
    return forms, *(np.array([number[entity] for entity in role]) for role in (subjects, objects))


def found(index: CountIndex, corpus: Corpus, **options: Any) -> tuple[list[str], list[list[list[int]]]]:
    """Return the names of the groups, and for each group the same numbers in the same order."""
    entities = [Entity(entity[0], tuple(entity[1:])) for entity in corpus.entities]
    subjects, objects = zip(*product(entities, repeat=2), strict=True)
    names, counts = count_pairs(
        index, *laid_out(index, subjects, objects), np.array(corpus.windows, np.int64), **options
    )
    mentions = [counts.subjects[..., :1], counts.objects[..., :1], counts.subjects[..., 1:], counts.objects[..., 1:]]
    rows = np.concatenate([*mentions, counts.together.reshape(*counts.together.shape[:2], -1)], axis=2)
    return names, [rows[:, group].tolist() for group in range(rows.shape[1])]


Plan = tuple[int, int, int]
#: Rows of the buffer (0: as given by the example), reading, threads.
SOME_PLANS: list[Plan] = [(0, 0, 1), (0, 1, 1), (0, -1, 2), (1 << 19, -1, 1)]
ALL_PLANS: list[Plan] = list(product((0, 1 << 19), (-1, 0, 1), (1, 2, 3)))


def check_plans(corpus: Corpus, buffer_rows: int, plans: Sequence[Plan]) -> None:
    right = expected(corpus, documents_of(corpus))
    options = corpus.options
    with small(frequent_from=2), index_folder(corpus.texts, corpus.sources, **options) as folder:
        for rows, reading, threads in plans:
            with small(rows or buffer_rows), CountIndex.open(folder) as index:
                for _ in range(2):  # the second time reuses the scratch memory
                    assert found(index, corpus, reading=reading, threads=threads)[1] == [right]


@settings(QUICK, max_examples=12)
@given(corpus=corpora(max_entities=8), buffer_rows=st.integers(1, 8))
def test_every_plan_gives_the_numbers_of_the_oracle(corpus: Corpus, buffer_rows: int) -> None:
    check_plans(corpus, buffer_rows, SOME_PLANS)


@pytest.mark.full
@settings(QUICK, max_examples=600)  # each with 18 plans
@given(corpus=corpora(max_documents=30, max_entities=12), buffer_rows=st.integers(1, 40))
def test_every_plan_gives_the_numbers_of_the_oracle_on_very_many_corpora(corpus: Corpus, buffer_rows: int) -> None:
    check_plans(corpus, buffer_rows, ALL_PLANS)


def test_leader_with_more_partners_than_one_sort_takes_is_counted(tmp_path: Path) -> None:
    """One entity has over 2,047 partners, in documents with one or two of them, with and without windows."""
    texts = [f"the w{n} x w{(7 * n) % 2500} the" for n in range(2_500)]
    subjects = [Entity("the")] * 2_500
    objects = [Entity(f"w{n}") for n in range(2_500)]
    with make_index(tmp_path, texts) as index:
        for windows, reading, threads in product(([], [0, 2]), (-1, 0, 1), (1, 2)):
            pairs = laid_out(index, subjects, objects)
            _, counts = count_pairs(index, *pairs, np.array(windows, np.int64), reading=reading, threads=threads)
            assert counts.subjects[:, 0].tolist() == [[5_000, 2_500]] * 2_500
            documents = counts.together[:, 0, :, 0]
            assert documents[:, 0].sum() == sum(len({n, 7 * n % 2500}) for n in range(2_500))
            if windows:
                # w0: at either end; within 2: also the second word ("the w x w the")
                assert (documents[:, 1] == documents[:, 0]).all()
                assert (counts.together[:, 0, 2, 1] == 2 * counts.objects[:, 0, 0]).all()


# ---------------------------------------------------------------------------------------------- which documents


def picked(corpus: Corpus, documents: Sequence[reference.Document]) -> Iterator[tuple[Scope, list[int]]]:
    """Return scopes with the numbers of their documents."""
    everything = list(range(len(documents)))
    first = {text: number for number, text in reversed(list(enumerate(corpus.texts)))}
    distinct = sorted(first.values())
    sources = ["unknown" if source is None else source for source in corpus.sources]
    begins = np.cumsum([0, *(len(document.tokens) for document in documents)]).tolist()
    half = len(everything) // 2
    yield EVERY_DOCUMENT, everything
    yield Scope(duplicates=False), distinct
    yield Scope(documents=(0, half)), everything[:half]
    yield Scope(documents=(half, 10_000)), everything[half:]
    yield Scope(tokens=(0, 5)), [n for n in everything if begins[n] < 5]
    yield Scope(tokens=(3, 9)), [n for n in everything if 3 <= begins[n] < 9]
    yield Scope(where="source = 'x'"), [n for n in everything if sources[n] == "x"]
    yield (
        Scope(where="tokens > 3 OR id = 'd0'", duplicates=False, documents=(0, half + 1)),
        [n for n in distinct if n <= half and (len(documents[n].tokens) > 3 or n == 0)],
    )
    yield Scope(documents=(2, 2)), []


def check_scopes(corpus: Corpus, deleted: int) -> None:
    documents = documents_of(corpus)
    options = corpus.options
    analyse = reference.ANALYZERS[corpus.analyzer]
    with small(frequent_from=2), index_folder(corpus.texts, corpus.sources, **options) as folder:
        with CountIndex.open(folder) as index:
            unknown = set(index.manifest.sources if index.manifest else ()) - {"x", "y z"}
        for gone in ((), (deleted % len(documents),)):
            if gone:
                delete_documents(folder, ids=[f"d{gone[0]}"])
            with CountIndex.open(folder) as index:
                for scope, numbers in picked(corpus, documents):
                    if gone and not scope.duplicates:
                        # Of several documents with the same text, the first remaining one counts.
                        living = [n for n in range(len(documents)) if n not in gone]
                        first = {corpus.texts[n]: n for n in reversed(living)}
                        numbers = [n for n in living if first[corpus.texts[n]] == n and in_range(scope, n, documents)]
                    kept = [n for n in numbers if n not in gone]
                    chosen = [documents[n] for n in kept]
                    assert found(index, corpus, scope=scope)[1] == [expected(corpus, chosen)], scope
                    for entity in corpus.entities:
                        ngram = analyse(entity[0])
                        answer = index.count(entity[0], scope=scope)
                        right = reference.count(chosen, ngram)
                        assert {name: getattr(answer, name) for name in right} == right
                        assert index.count_many([entity[0]], scope=scope).tolist() == [list(right.values())]
                    by_source: dict[str, list[reference.Document]] = defaultdict(list)
                    for document in chosen:
                        by_source[next(iter(unknown), "") if document.source is None else document.source].append(
                            document
                        )
                    names, groups = found(index, corpus, scope=scope, by="source")
                    for name, group in zip(names, groups, strict=True):
                        assert group == expected(corpus, by_source[name]), (scope, name)


def in_range(scope: Scope, number: int, documents: Sequence[reference.Document]) -> bool:
    """Return the documents of a range without repeated ones, for :func:`picked`."""
    if scope.where is None:
        return True
    assert scope.documents is not None
    return number < scope.documents[1] and (len(documents[number].tokens) > 3 or number == 0)


@settings(QUICK, max_examples=4)
@given(corpus=corpora(max_entities=3), deleted=st.integers(0, 20))
def test_every_scope_and_group_equals_the_oracle(corpus: Corpus, deleted: int) -> None:
    check_scopes(corpus, deleted)


@pytest.mark.full
@settings(QUICK, max_examples=120)  # each with 9 scopes, before and after a deletion
@given(corpus=corpora(max_documents=25, max_entities=6), deleted=st.integers(0, 40))
def test_very_many_scopes_and_groups_equal_the_oracle(corpus: Corpus, deleted: int) -> None:
    check_scopes(corpus, deleted)


# ---------------------------------------------------------------------------------------------- counted in advance


@settings(QUICK, max_examples=10)
@given(
    texts=st.lists(st.lists(st.sampled_from("aab"), max_size=40).map(" ".join), min_size=1, max_size=12),
    least=st.integers(1, 12),
)
def test_every_frequent_ngram_is_counted_in_advance(texts: list[str], least: int) -> None:
    with small(frequent_from=least), index_of(texts) as index:
        (shard,) = index.shards
        ranges = {(int(row[0]), int(row[1])) for row in shard.frequent}
        documents = [text.split() for text in texts]
        ngrams = {tuple(d[i : i + n]) for d in documents for n in range(1, 9) for i in range(len(d) - n + 1)}
        for ngram in ngrams:
            ids = index.token_ids(" ".join(ngram))
            assert ids is not None
            low, high = shard.find(ids)
            assert ((low, high) in ranges) == (high - low > least), ngram


# ---------------------------------------------------------------------------------------------- what is chosen


def cost(index: CountIndex, run: Callable[[], Any]) -> int:
    """Return the cost of a count in tokens: tokens read, plus rows visited in units of tokens."""
    assert len(index.shards) == 1
    workspace._idle.clear()
    run()
    (space,) = workspace._idle
    return int(space.work[0]) * TOKENS_PER_ROW + int(space.work[1])


SKEWED = {
    # (documents, tokens of each), (words, exponent of their distribution), facts, leaders
    "short documents": ((900, 8), (300, 1.1), 200, 10),
    "long documents": ((12, 700), (2_000, 1.0), 200, 10),
    "one entity with everything": ((300, 25), (800, 1.3), 300, 1),
    "rare with rare": ((300, 25), (5_000, 0.3), 300, 100),
    "few words": ((200, 30), (12, 0.5), 100, 12),
}


@pytest.mark.parametrize("name", SKEWED)
@pytest.mark.parametrize("windows", [[], [3]])
def test_chosen_plan_costs_little_more_than_the_best(name: str, windows: list[int], tmp_path: Path) -> None:
    (documents, tokens), (words, exponent), facts, leaders = SKEWED[name]
    chance = random.Random(name)
    weights = [(rank + 1) ** -exponent for rank in range(words)]
    names = [f"w{n}" for n in range(words)]
    texts = [" ".join(chance.choices(names, weights, k=chance.randint(1, 2 * tokens))) for _ in range(documents)]
    with make_index(tmp_path, texts) as index:
        subjects = [Entity(f"w{chance.randrange(leaders)}") for _ in range(facts)]
        pairs = laid_out(index, subjects, [Entity(chance.choice(names)) for _ in range(facts)])
        costs = {
            reading: cost(index, lambda r=reading: count_pairs(index, *pairs, np.array(windows, np.int64), reading=r))
            for reading in (-1, 0, 1)
        }
    assert costs[-1] <= WORSE_THAN_BEST * min(costs[0], costs[1]), costs


def test_documents_shared_by_many_partners_are_counted_once_in_the_cost(tmp_path: Path) -> None:
    """One entity is everywhere and many others are in the same few documents, so reading those is much cheaper."""
    partners = " ".join(f"p{n}" for n in range(60))
    with make_index(tmp_path, ["the " * 40] * 500 + [f"the {partners}"] * 5) as index:
        pairs = laid_out(index, [Entity("the")] * 60, [Entity(f"p{n}") for n in range(60)])
        costs = [
            cost(index, lambda r=r: count_pairs(index, *pairs, np.array([], np.int64), reading=r)) for r in (-1, 0, 1)
        ]
    assert costs[0] == costs[2] < costs[1] / 5
