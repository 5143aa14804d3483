"""The shapes of published fact tables whose columns have other names; :mod:`translated` reads them.

Sources of the names (read in November 2026):

============================  ========================================================================================
splits, files of questions,   the code of arXiv:2504.05058, McGill-NLP/unequal-unlearning, ``OLMo_counts.ipynb``
biographies
zsRE as edits                 ``zsre_mend_eval.json``: kmeng01/rome, ``dsets/zsre.py``; zjunlp/EasyEdit,
                              ``easyeditor/dataset/zsre.py``
zsRE and T-REx of KILT        facebookresearch/KILT, README; huggingface/datasets, ``datasets/kilt_tasks``
CounterFact                   kmeng01/rome, ``dsets/counterfact.py``; zjunlp/EasyEdit, the record in its tutorial
PopQA                         AlexTMallen/adaptive-retrieval, ``run_model.py``
LAMA                          facebookresearch/LAMA, ``scripts/batch_eval_KB_completion.py``
RWKU                          jinzhuoran/RWKU, ``LLaMA-Factory/src/llmtuner/eval/eval_forget.py``
EntityQuestions               princeton-nlp/EntityQuestions, ``dataset``
MUSE, question and answer     jaechan-repo/muse_bench, ``knowmem/get_rouge_qa.py``
============================  ========================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from factcensus.indexer.names import nearest
from factcensus.indexer.tables.columns import REQUIRED, plain

#: How the values of a shape are translated; None if its columns only get other names.
Translation = Literal["edits", "slots", "rewrites", "answers"]


@dataclass(frozen=True, slots=True)
class PublishedShape:
    """A kind of table: columns that it must have, and their names here.

    Attributes:
        needed: All columns that identify the shape, in lower case.
        renamed: Our names of columns by theirs.
        copied: Our names of further columns that repeat one of theirs.
        translated: Our names of the columns that are made of the values of one of theirs, which is then left out.
        translation: How these are made.
    """

    needed: frozenset[str]
    renamed: Mapping[str, str] = field(default_factory=dict)
    copied: Mapping[str, str] = field(default_factory=dict)
    translated: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    translation: Translation | None = None

    @property
    def texts(self) -> frozenset[str]:
        """Columns with texts or lists of texts, which stay as written."""
        nested = self.translated if self.translation in ("slots", "rewrites") else ()
        return frozenset((*self.renamed, *self.copied, *self.translated)).difference(nested)


_ANSWERS = {"answers": ("object", "object_aliases")}
#: Names of questions and answers before the splits were made.
_ASKED = {"direct_question": "question", "direct_answer": "answer", "paraphrased_question": "paraphrase"}
_SHAPES = (
    PublishedShape(frozenset(("country", "capital")), {"country": "subject", "capital": "object", **_ASKED}),
    PublishedShape(frozenset(("name", "question", "answer", "qa")), {"name": "subject"}, {"answer": "object"}),
    PublishedShape(
        frozenset(("subject", "src", "answers")),
        {"case_id": "fact_id", "src": "question", "rephrase": "paraphrase"},
        translated={**_ANSWERS, "alt": ("distractors",)},
        translation="edits",
    ),
    PublishedShape(
        frozenset(("input", "output")),
        {"id": "fact_id"},
        translated={
            "input": ("subject", "relation"),
            "output": ("object", "object_aliases"),
            "meta": ("question", "paraphrases", "subject_aliases"),
        },
        translation="slots",
    ),
    PublishedShape(
        frozenset(("requested_rewrite",)),
        {"case_id": "fact_id"},
        translated={"requested_rewrite": ("subject", "object", "relation", "cloze", "distractors")},
        translation="rewrites",
    ),
    PublishedShape(
        frozenset(("subj", "prop", "obj")),
        {
            "id": "fact_id",
            "subj": "subject",
            "prop": "relation",
            "obj": "object",
            "s_aliases": "subject_aliases",
            "o_aliases": "object_aliases",
        },
    ),
    PublishedShape(
        frozenset(("sub_label", "obj_label")),
        {
            "uuid": "fact_id",
            "sub_label": "subject",
            "predicate_id": "relation",
            "obj_label": "object",
            "sub_aliases": "subject_aliases",
            "obj_aliases": "object_aliases",
        },
    ),
    PublishedShape(frozenset(("subject", "query", "answer")), {"query": "question"}, {"answer": "object"}),
    PublishedShape(frozenset(("subject", "question", "answers")), translated=_ANSWERS, translation="answers"),
    PublishedShape(frozenset(("subject", "question", "answer")), copied={"answer": "object"}),
)


@lru_cache(1000)
def shape_of(names: tuple[str, ...]) -> PublishedShape | None:
    """Return the published shape of a table with these columns; None if it has our names, or no known shape."""
    there = {plain(name) for name in names}
    if there >= {*REQUIRED} or len(there) < len(names):
        return None
    return next((shape for shape in _SHAPES if shape.needed <= there and _gives_required(shape, there)), None)


def _gives_required(shape: PublishedShape, there: set[str]) -> bool:
    """Return whether a table of this shape gets a subject and an object, and has no other column of that name."""
    given = [ours for theirs, ours in shape.renamed.items() if theirs in there] + [*shape.copied.values()]
    given += [ours for theirs, several in shape.translated.items() if theirs in there for ours in several]
    return all((name in given) != (name in there) for name in REQUIRED)


def sources(shape: PublishedShape, names: Sequence[str]) -> dict[str, str]:
    """Return the columns of a table by the names that they get here; a column whose name here is taken keeps its own.

    Several of our names may have one source.
    """
    own = {plain(name): name for name in names}
    found = {
        ours: own[theirs]
        for theirs, ours in (*shape.renamed.items(), *shape.copied.items())
        if theirs in own and ours not in own
    }
    for theirs, several in shape.translated.items():
        if theirs in own:
            found |= {ours: own[theirs] for ours in several if ours not in own}
    return found


@lru_cache(1000)
def texts_of_shape(names: tuple[str, ...]) -> frozenset[str]:
    """Return the columns of a published shape whose numbers become text as written; none for other tables."""
    shape = shape_of(names)
    return frozenset() if shape is None else frozenset(name for name in names if plain(name) in shape.texts)


def reading(names: Sequence[str]) -> str | None:
    """Return a sentence about how columns of a published shape are read; None for other tables."""
    shape = shape_of(tuple(names))
    if shape is None:
        return None
    by_source: dict[str, list[str]] = {}
    for ours, theirs in sources(shape, names).items():
        by_source.setdefault(theirs, []).append(repr(ours))
    pairs = [f"{theirs!r} as {_listed(ours)}" for theirs, ours in by_source.items()]
    return f"reads {', '.join(pairs)}" if pairs else None


def _listed(words: Sequence[str]) -> str:
    return " and ".join([*([", ".join(words[:-1])] if words[1:] else []), words[-1]])


def refusal(names: Sequence[str]) -> str | None:
    """Return the message about a table of a known kind without subjects and objects, with the remedy; else None."""
    there = {plain(name) for name in names}
    asked = there & {"question", "direct_question", "src", "query"}
    if {"question", "choices"} <= there:
        return (
            "the table has multiple-choice questions (as WMDP and MMLU), which name no subject and object to count; "
            "evaluate them with `factcensus eval run --tasks`"
        )
    answered = there & {"answer", "answers", "direct_answer"}
    if asked and answered and not there & {*REQUIRED} and nearest("subject", names) is None:
        return (
            f"the table has questions ({min(asked)!r}) and answers, but no column that names the subject (as MUSE, "
            "TOFU and EntityQuestions); counting needs the name of the person, place or thing asked about: add it as a "
            "column 'subject', or name the column that has it with --columns subject=COLUMN; the answer is then read "
            "as the object"
        )
    return None
