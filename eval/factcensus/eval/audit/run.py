"""Audit a model: ask, record and judge; the folder of an audit is resumable.

DIR/run.json                    settings, digests, status
DIR/parts/WAY-ROW.parquet       the answers to one kind of question about one fact, complete or absent
DIR/answers.parquet, .jsonl     all answers
DIR/verdicts.csv, summary.json, report.html
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from factcensus.eval.asking.prompting import Prompting
from factcensus.eval.asking.questions import Asked
from factcensus.eval.asking.renaming import names_of
from factcensus.eval.attacks.relearn import after_each
from factcensus.eval.attacks.target import AttackSettings, Target, restored
from factcensus.eval.audit.answers import RELEARNED, SCHEMA, greedy_answers, sampled_answers
from factcensus.eval.audit.page import write_page
from factcensus.eval.audit.people import LEAST, choose_names, made_up_names
from factcensus.eval.audit.prompts import (
    audited_questions,
    audited_rows,
    examples_to_relearn,
    few_shot_questions,
    fitting,
    questions_of_examples,
    with_questions,
)
from factcensus.eval.audit.reversing import REVERSED, Backwards, reversed_answers, reversed_questions
from factcensus.eval.audit.verdicts import Audit, judge
from factcensus.eval.errors import EvaluationInputError
from factcensus.indexer.system.files import explain_full_disk, write_json
from factcensus.indexer.tables.complete import complete_facts
from factcensus.indexer.tables.files import write_table
from factcensus.unlearn.models import model_digest
from factcensus.unlearn.progress import Progress, ProgressFunction, silent
from factcensus.unlearn.run_folder import check_run_folder, library_versions, open_run, read_record
from factcensus.unlearn.stopping import stop_on_sigterm
from factcensus.unlearn.training.runtime import resolve_device, torch_threads

#: Ways of asking whose answers are sampled and asked again after relearning.
MAIN_WAYS = ("question", "cloze")
DIRECT, SAMPLED = "direct", "sampled"


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """What an audit asks.

    Attributes:
        made_up: Number of never-seen people for comparison, at least :data:`~factcensus.eval.audit.people.LEAST`.
        samples: Answers sampled per question and seed; 0 for none.
        seeds: Seeds of the samples.
        sampled_people: Number of made-up people whose answers are sampled too.
        relearn: Whether to train the model briefly on facts about other people and ask again.
        relearn_steps, relearn_rate: The number of steps of this training, and its learning rate.
        batch_tokens: Maximum number of tokens per batch; it affects no answer.
    """

    made_up: int = 199
    samples: int = 8
    seeds: tuple[int, ...] = (0, 1, 2)
    sampled_people: int = 20
    relearn: bool = False
    relearn_steps: int = 32
    relearn_rate: float = 1e-5
    batch_tokens: int = 4096

    def identity(self) -> dict[str, Any]:
        """Return the settings that determine the answers."""
        found = {name: value for name, value in asdict(self).items() if name != "batch_tokens"}
        return found if self.relearn else {k: v for k, v in found.items() if not k.startswith("relearn_")}


def audit_model(  # noqa: PLR0913  # a public function; everything after the folder is optional and named
    model: str,
    facts: pa.Table,
    out: Path,
    *,
    examples: pa.Table | None = None,
    names: Sequence[str] | None = None,
    in_corpus: Callable[[str], bool] | None = None,
    corpus: str | None = None,
    settings: AuditSettings | None = None,
    prompting: Prompting | None = None,
    device: str = "auto",
    threads: int | None = None,
    progress: ProgressFunction = silent,
) -> Audit:
    """Ask a model about facts in many ways, and compare its answers with those about people who do not exist.

    Every kind of question about a fact is saved as soon as it is answered, so the same call continues an interrupted
    audit. A finished audit with the same model, facts and settings is not repeated; only its page is written again.

    Args:
        model: The folder of a model, or its name on the hub.
        facts: A fact table, with any number of people.
        out: The folder of the audit. Only its owner can read it.
        examples: Facts about other people, as solved questions before a question, and to relearn from.
        names: Names of never-seen people; made up if None.
        in_corpus: Returns whether a name occurs in the corpus; such names are not used.
        corpus: Name of that corpus, for the report.
        threads: Number of torch threads; None changes nothing.

    Raises:
        EvaluationInputError: a fact cannot be asked or compared, or too few names are suitable.
        RunFolderError: ``out`` holds something else, or another process uses it.
        ConfigError, ExampleError: the model cannot be loaded, or an answer cannot be encoded.
        DiskFullError: the disk is full; the same call continues.
    """
    settings, begun = settings or AuditSettings(), time.monotonic()
    _check(settings, examples)
    if (Path(model) / "run.json").is_file():
        kept = ", ".join(str(each.parent) for each in sorted(Path(model).glob("cells/*/model/config.json")))
        raise EvaluationInputError(
            f"{model} is a run, not a model; give the folder of one of its models{': ' + kept if kept else ''}"
        )
    facts = with_questions(complete_facts(facts))
    examples = None if examples is None else with_questions(complete_facts(examples))
    asked, backwards = audited_questions(facts), reversed_questions(facts, examples)
    prompting = (prompting or Prompting()).fixed(model)
    tokenizer = prompting.tokenizer(model)
    subjects = {name for fact in facts.to_pylist() for name in names_of(fact)}
    chosen = choose_names(
        made_up_names(settings.seeds[0]) if names is None else iter(names),
        settings.made_up,
        subjects,
        tokenizer,
        in_corpus,
    )
    digest = model_digest(model, None)
    identity: dict[str, Any] = json.loads(
        json.dumps(
            {
                "audit": settings.identity(),
                "model": digest,
                "facts": _digest(facts),
                "examples": None if examples is None else _digest(examples),
                "names": list(chosen),
                "template": prompting.template,
                "opening": prompting.opening,
                "chat": prompting.record()["chat"],
            }
        )
    )
    check_run_folder(out, identity)
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    record = {
        "kind": "audit",
        "model": {"name": model, "digest": digest},
        "facts": {"digest": identity["facts"], "rows": facts.num_rows},
        "prompt": prompting.record(),
        "corpus": corpus,
        "made_up": names is None,
        "versions": library_versions(),
        "device": str(resolve_device(device)),
        "begun": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    previous = read_record(out)
    if previous.get("status") == "done" and (out / "answers.parquet").is_file():
        return _finish(out, previous)
    kept = "finished answers are kept, and it continues with the others"
    with (
        explain_full_disk(out, kept),
        open_run(out, identity, record) as run,
        stop_on_sigterm(),
        torch_threads(threads),
    ):
        rows, others = audited_rows(facts, examples), questions_of_examples(examples, facts.num_rows)
        work = _Work(model, prompting, tokenizer, device, rows, asked, backwards, others, chosen, settings, out)
        tables = work.tables(progress)
        write_table(pa.concat_tables(tables), out / "answers.parquet")
        write_table(pa.concat_tables(tables), out / "answers.jsonl")
        run.update(seconds=round(time.monotonic() - begun, 2), finished=datetime.now(UTC).isoformat(timespec="seconds"))
        found = _finish(out, run.record)
    shutil.rmtree(out / "parts")
    return found


def _finish(out: Path, record: dict[str, Any]) -> Audit:
    """Judge the recorded answers and write verdicts, summary and page."""
    audit = judge(pq.read_table(out / "answers.parquet"), record)
    write_table(audit.table(), out / "verdicts.csv")
    write_json(out / "summary.json", audit.as_json())
    write_page(out / "report.html", audit)
    return audit


def _check(settings: AuditSettings, examples: pa.Table | None) -> None:
    if settings.relearn and examples is None:
        raise EvaluationInputError(
            "relearning trains the model on facts about other people; give them with --examples TABLE"
        )
    if settings.made_up < LEAST:
        raise EvaluationInputError(f"made_up={settings.made_up}: expected at least {LEAST}")
    if settings.samples and not settings.seeds:
        raise EvaluationInputError("samples need at least one seed")


def _digest(table: pa.Table) -> str:
    content = json.dumps(table.to_pylist(), sort_keys=True, default=str)
    return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"


@dataclass(slots=True)
class _Work:
    """The parts of an audit: each is read from its file, or made and written."""

    model: str
    prompting: Prompting
    tokenizer: Any
    device: str
    rows: list[dict[str, Any]]
    asked: list[Asked]
    backwards: list[Backwards]
    others: list[Asked]
    names: tuple[str, ...]
    settings: AuditSettings
    out: Path
    _target: Target | None = None

    def tables(self, progress: ProgressFunction) -> list[pa.Table]:
        """Return the answers to all questions, in the order of the parts."""
        (self.out / "parts").mkdir(exist_ok=True)
        parts = list(self._parts())
        found: dict[str, pa.Table] = {}
        for name, make in parts:
            progress(Progress("audit", len(found), len(parts)))
            found[name] = self._part(name, make)
        progress(Progress("audit", len(parts), len(parts)))
        if self.settings.relearn:
            found |= self._relearned(progress)
        return list(found.values())

    def _facts(self) -> list[int]:
        return list(dict.fromkeys(question.row for question in self.asked))

    def _main(self, row: int) -> list[Asked]:
        return [each for each in self.asked if each.row == row and each.form in MAIN_WAYS]

    def _parts(self) -> Iterator[tuple[str, Callable[[], pa.Table]]]:
        """Yield the name of each part and the function that makes it, except for the parts after relearning."""
        settings = self.settings
        backwards = {each.question.row: each for each in self.backwards}
        for row in self._facts():
            yield f"{DIRECT}-{row:06d}", partial(self._direct, row)
            if row in backwards:
                yield f"{REVERSED}-{row:06d}", partial(self._reversed, backwards[row])
            for seed in settings.seeds if settings.samples else ():
                yield f"{SAMPLED}-{seed}-{row:06d}", partial(self._sampled, row, seed)

    def _direct(self, row: int) -> pa.Table:
        target = self._loaded()
        questions = [each for each in self.asked if each.row == row]
        every = [*questions, *few_shot_questions(target, questions)]
        return greedy_answers(target, fitting(target, every, self.names), self.names)

    def _reversed(self, backwards: Backwards) -> pa.Table:
        return reversed_answers(self._loaded(), backwards, self.names)

    def _sampled(self, row: int, seed: int) -> pa.Table:
        people = self.names[: self.settings.sampled_people]
        return sampled_answers(self._loaded(), self._main(row), people, samples=self.settings.samples, seed=seed)

    def _relearned(self, progress: ProgressFunction) -> dict[str, pa.Table]:
        """Return the answers after brief training on the examples; a resumed audit repeats the training."""
        names = {row: f"relearn-{row:06d}" for row in self._facts()}
        missing = [row for row, name in names.items() if not self._path(name).is_file()]
        if missing:
            target = self._loaded()
            examples = examples_to_relearn(target)
            with restored(target.model):
                progress(Progress("relearn", 0, 1))
                for _ in after_each(target, examples):
                    pass
                progress(Progress("relearn", 1, 1))
                for row in missing:
                    self._part(names[row], partial(greedy_answers, target, self._main(row), self.names, RELEARNED))
        return {name: pq.read_table(self._path(name)) for name in names.values()}

    def _path(self, name: str) -> Path:
        return self.out / "parts" / f"{name}.parquet"

    def _part(self, name: str, make: Callable[[], pa.Table]) -> pa.Table:
        path = self._path(name)
        if not path.is_file():
            write_table(make(), path)
        return pq.read_table(path, schema=SCHEMA)

    def _loaded(self) -> Target:
        """Return the model, loaded when a part is first missing."""
        if self._target is None:
            settings = self.settings
            self._target = Target(
                self.prompting.model(self.model, resolve_device(self.device)),
                self.tokenizer,
                self.rows,
                [*self.asked, *self.others],
                [],
                self.prompting.template,
                settings.seeds[0] if settings.seeds else 0,
                AttackSettings(relearn_steps=(settings.relearn_steps,), relearn_rate=settings.relearn_rate),
                settings.batch_tokens,
            )
        return self._target
