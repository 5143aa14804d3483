"""The files of a study: queries, configurations, and the commands in their order.

DIR/sources/RELATION.rq     the query that finds the facts; its result is RELATION.csv
DIR/facts.jsonl             the fact table
DIR/counts/INDEX.parquet    the facts with their counts in an index
DIR/strata/INDEX.parquet    the same with strata
DIR/MODEL/full.toml         training of all weights; lora.toml: training of adapters
DIR/MODEL/full, lora        the run folders; attacked: the attacks; report.html
DIR/steps.sh                every command; README.md: what they do
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factcensus.eval.reproduce.published_models.studies import RELATIONS, PublishedModel
from factcensus.indexer.system.files import write_atomically

FACTS, SOURCES = "facts.jsonl", "sources"
#: The two configurations of a model, and the weights that they train.
TRAINED = {"full": "all weights", "lora": "adapters"}


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a study, run in its folder.

    Attributes:
        title: What it does.
        arguments: The arguments of ``factcensus``.
        makes: A file that exists once it is done; None to run it again each time.
        processes: Number of processes, each with one GPU.
    """

    title: str
    arguments: tuple[str, ...]
    makes: str | None = None
    processes: int = 1

    @property
    def line(self) -> str:
        """The command as a line of a shell script."""
        words = ["factcensus", *self.arguments]
        if self.processes > 1:
            words = ["accelerate", "launch", "--num_processes", str(self.processes), "-m", *words]
        return shlex.join(words)


def steps_of(model: PublishedModel, settings: Mapping[str, Any]) -> Iterator[Step]:
    """Yield the commands for one model, after the fact table is made."""
    folder, index = model.name, model.index
    first, *others = index.urls
    where = ["--index", first, *(word for url in others for word in ("--also", url)), "--analyzer", index.analyzer]
    counting = ("facts", "count", FACTS, *where, *index.options)
    counts, strata = f"counts/{index.name}.parquet", f"strata/{index.name}.parquet"
    yield Step(f"estimate the reads in the index of {index.corpus}", (*counting, "--dry-run", "--out", counts))
    yield Step("count every fact", (*counting, "--out", counts), counts)
    yield Step("divide the facts by factors of 10 of the count", _stratify(counts, strata), strata)
    for gpus in sorted({1, model.gpus, 8}):
        for kind in ("full", "lora"):
            if kind == "lora" or gpus >= model.gpus:
                shared = () if kind == "lora" or gpus == 1 else ("--set", "fsdp=true")
                plan = ("unlearn", "plan", f"{folder}/{kind}.toml", "--gpus", str(gpus), *shared)
                yield Step(f"plan: {TRAINED[kind]}, {gpus} x 80 GB", plan)
    for kind, processes in (("full", model.gpus), ("lora", 1)):
        run = ("unlearn", "run", f"{folder}/{kind}.toml")
        yield Step(f"unlearn and evaluate: {TRAINED[kind]}", run, f"{folder}/{kind}/summary.json", processes)
    if settings["attacks"]:
        attacked = ("eval", "run", f"{folder}/full", "--facts", strata, "--out", f"{folder}/attacked")
        yield Step(
            "attack the unlearned models",
            (*attacked, "--attacks", settings["attacks"], "--device", settings["device"]),
            f"{folder}/attacked/summary.json",
        )
    report = ("report", f"{folder}/full", f"{folder}/lora", "--out", f"{folder}/report.html")
    yield Step("write the report", report, f"{folder}/report.html")


def _stratify(counts: str, strata: str) -> tuple[str, ...]:
    return ("facts", "stratify", counts, "--by", "cooccurrence_documents", "--bins", "log10", "--out", strata)


def write_files(
    out: Path, study: str, models: Sequence[PublishedModel], settings: Mapping[str, Any], given: Sequence[str] = ()
) -> None:
    """Write queries, configurations, script and README; files that are unchanged stay as they are.

    Args:
        out: The folder of the study.
        study: Its name.
        models: Its models.
        settings: Settings of training and evaluation.
        given: Names of the tables that the fact table was made from; without them, queries find the facts.
    """
    for relation in () if given else RELATIONS:
        _write(out / SOURCES / f"{relation.name}.rq", relation.query)
    for model in models:
        _write(out / model.name / "full.toml", configuration(model, settings, adapters=False))
        _write(out / model.name / "lora.toml", configuration(model, settings, adapters=True))
    _write(out / "steps.sh", script(study, models, settings, queries=not given))
    _write(out / "README.md", readme(study, models, settings, given))


def _write(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)


def configuration(model: PublishedModel, settings: Mapping[str, Any], *, adapters: bool) -> str:
    """Return the configuration of a run as TOML; paths are relative to the folder of the study."""
    kind = "lora" if adapters else "full"
    rate = settings["adapter_rate" if adapters else "learning_rate"]
    lora = {"adapter": {"rank": settings["rank"]}}
    methods = [
        _inline({"preset": name, "name": f"{name}_lora", **lora}) if adapters else json.dumps(name)
        for name in settings["methods"]
    ]
    lines = [
        f"model = {json.dumps(model.model)}",
        *([f"revision = {json.dumps(model.revision)}"] if model.revision else []),
        f'facts = "strata/{model.index.name}.parquet"',
        f'out = "{model.name}/{kind}"',
        f"methods = [{', '.join(methods)}]",
        "seed = 0",
        f"template = {json.dumps(model.template)}",
        'opening = "end-of-text"        # every text begins as documents did in pre-training',
        f"dtype = {json.dumps(settings['dtype'])}     # float32 parameters; bfloat16 parameters lose updates",
        f"device = {json.dumps(settings['device'])}",
        f"fsdp = {str(not adapters and model.gpus > 1).lower()}",
        f"save_models = {str(not adapters).lower()}",
        f"evaluator_settings = {_inline(settings['evaluator'])}",
        "",
        "[selection]",
        'count_column = "cooccurrence_documents"',
        'forget = {roles = ["forget"], known_before = false}',
        _retained(settings["match"]),
        "",
        "[training]",
        f"forms = {json.dumps(settings['forms'])}",
        f"learning_rate = {rate:g}",
        f"passes = {settings['passes']}",
        f"batch_forget = {settings['batch']}",
        f"batch_retain = {settings['batch']}",
        'schedule = "linear"',
        "over_forgotten_share = 1",
    ]
    return "\n".join(lines) + "\n"


def _retained(match: Sequence[str]) -> str:
    """Return the line about retain facts: as many per fact to forget as every relation has, or at most one."""
    if match:
        return f'retain = {{roles = ["retain"], match = {json.dumps(match)}}}'
    return 'retain = {roles = ["retain"], per_forget = 1}'


def _inline(values: Mapping[str, Any]) -> str:
    written = {key: _inline(value) if isinstance(value, dict) else json.dumps(value) for key, value in values.items()}
    return "{" + ", ".join(f"{key} = {value}" for key, value in written.items()) + "}"


def download(relation: str) -> str:
    """Return the command that asks Wikidata for the facts of a relation."""
    query = f"{SOURCES}/{relation}.rq"
    return (
        f"curl -sS -H 'Accept: text/csv' --data-urlencode query@{query} https://query.wikidata.org/sparql "
        f"-o {SOURCES}/{relation}.csv"
    )


def script(study: str, models: Sequence[PublishedModel], settings: Mapping[str, Any], *, queries: bool) -> str:
    """Return every command of the study as a shell script."""
    lines = ["#!/bin/sh", "# Every step of the study; README.md explains them.", "set -e", 'cd "$(dirname "$0")"']
    if queries:
        lines += ["", *(download(relation.name) for relation in RELATIONS)]
        lines += [f"factcensus reproduce {study} --size paper --out .      # makes {FACTS}"]
    there: set[str] = set()
    for model in models:
        lines += ["", f"# {model.model}"]
        for step in steps_of(model, settings):
            if step.line not in there:  # models of one corpus share their counts
                lines += [f"# {step.title}", step.line]
            there.add(step.line)
    return "\n".join(lines) + "\n"


def readme(study: str, models: Sequence[PublishedModel], settings: Mapping[str, Any], given: Sequence[str] = ()) -> str:
    """Return the description of the study."""
    rows = [
        f"| `{model.name}` | {model.model} | {model.revision or '-'} | {', '.join(model.index.urls)} | "
        f"{model.index.corpus} |"
        for model in models
    ]
    sources = _GIVEN.format(tables=", ".join(given)) if given else _QUERIES.format(study=study)
    methods = ", ".join(settings["methods"])
    return _README.format(study=study, models="\n".join(rows), methods=methods, sources=sources)


_QUERIES = """\
The queries in `sources/` ask Wikidata (CC0) for facts. Save each result as a CSV file next to its
   query, then repeat `factcensus reproduce {study}`, which makes `facts.jsonl` from them."""
_GIVEN = """\
`facts.jsonl` has the facts of {tables}. Invented names take the place of real ones in their questions."""


_README = """\
# Study of pre-trained models: {study}

Written by `factcensus reproduce {study}`. `steps.sh` has every command; they run in this folder. A repeated run
continues.

| folder | model | revision | index | corpus |
| --- | --- | --- | --- | --- |
{models}

1. **Sources.** {sources}
   Subjects with several objects, and facts whose name contains the answer, are left out. Of 20 subjects, nine are to be
   forgotten and nine retained.
   Invented names (role `phantom`) show what a model answers about names it never read.
2. **Counts.** Every fact is counted in the published index of the corpus. `--dry-run` prints the cost first; with
   `--requester-pays`, you pay for the reads.
3. **Strata.** Facts are divided by factors of 10 of the number of documents that have subject and object.
4. **Plans.** Memory and time of all weights and of adapters, on one or more GPUs with 80 GB and on eight.
5. **Runs.** `full` trains all weights, sharded (`fsdp`) if one GPU cannot hold them; `lora` trains adapters.
6. **Attacks and report.** The report shows both runs together.

Methods: {methods}. Each is evaluated in every form of asking, with the measures of the paper (`as_published`). To
forget one third of the facts by count and retain another, as the paper does, stratify with `--bins quantile:3` and set
`selection.forget.strata` and `selection.retain.strata`.
"""
