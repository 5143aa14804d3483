"""``factcensus reproduce questions``: the four questions, each a grid of worlds in a separate folder.

OUT/N/run.json                settings, seeds, versions, commit, seconds
OUT/N/worlds.parquet          one row per world with every outcome
OUT/N/results.json            the findings and the conclusion
OUT/N/tables.md               the same as Markdown, as in docs/questions.md
OUT/N/SIZE/seed-S/            the run folders; OUT/N/work has worlds, indexes, counts and models
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factcensus.indexer.cli.command import command, option
from factcensus.indexer.cli.options import OUTPUT_FOLDER, Choice, Whole, json_option
from factcensus.unlearn.progress import ProgressFunction

if TYPE_CHECKING:
    from factcensus.eval.reproduce.questions.designs import Design, Size
    from factcensus.eval.study import Study

NUMBERS = ("1", "2", "3", "4")
RESULTS = "results.json"


@command(
    "questions",
    example="factcensus reproduce questions --size smoke --out questions\n"
    "factcensus reproduce questions --only 3 --size cpu --out questions",
)
@option(
    "--only", type=Choice(list(NUMBERS)), metavar="N", default_text="all four", help="answer only question N (1 to 4)"
)
@option(
    "--size",
    type=Choice(["smoke", "cpu"]),
    default="smoke",
    help="smoke (a test, about a minute) or cpu (as registered, about 40 CPU minutes for all four)",
)
@option("--out", type=OUTPUT_FOLDER, required=True, metavar="DIR", help="the folder of all results")
@option("--worlds", type=Whole(1), metavar="N", default_text="the registered number", help="number of worlds")
@option("--jobs", type=Whole(1), metavar="N", default_text="the number of processors", help="studies at a time")
@json_option
def questions(only: str | None, size: Size, out: Path, worlds: int | None, jobs: int | None, as_json: bool) -> None:
    """Answer four questions that the paper left open, in invented worlds.

    1: does the count help to unlearn beyond the model's loss? 2: does forgetting reach other ways of asking? 3: do
    paraphrased exposures resist more than repeated ones? 4: does the order of exposure matter? docs/questions.md
    registers design, margin and power. The same command continues an interrupted run; a larger --worlds extends it.
    """
    from factcensus.eval.reproduce.questions.designs import design
    from factcensus.indexer.system.console import print_json

    chosen = [design(int(number), size) for number in ([only] if only else NUMBERS)]
    results = {str(each.number): answer(each, size, out / str(each.number), worlds, jobs) for each in chosen}
    if as_json:
        print_json(results)
        return
    for each in chosen:
        tables = (out / str(each.number) / "tables.md").read_text(encoding="utf-8")
        print(f"{each.number}. {each.question}\n\n{tables}")


def answer(design: Design, size: Size, out: Path, worlds: int | None = None, jobs: int | None = None) -> dict[str, Any]:
    """Run the experiment of a question, or continue it, and return its findings."""
    from factcensus.eval.reproduce.grid import Grid, run_grid

    first = design.seeds[0]
    seeds = design.seeds if worlds is None else tuple(range(first, first + worlds))
    grid = Grid(f"question {design.number} {size}", design.arms, seeds, run_study, (design.wordings,))
    return run_grid(grid, out, lambda studies: conclude(design, studies, out), jobs=jobs)


def run_study(study: Study, wordings: int, progress: ProgressFunction) -> None:
    """Train the model of a study, unlearn it with every method, and ask every model in further wordings."""
    from factcensus.eval.reproduce.questions.wordings import EveryWording
    from factcensus.eval.study import train_model
    from factcensus.unlearn import run_unlearning

    train_model(study, progress)
    config = study.config().model_copy(update={"save_models": False})
    run_unlearning(config, EveryWording(paraphrases=wordings), progress)


def conclude(design: Design, studies: list[Study], out: Path) -> dict[str, Any]:
    """Write the tables and the findings of finished studies, and return the findings."""
    import pyarrow as pa

    from factcensus.eval.reproduce.questions.findings import conclusion_of, find, findings_json, markdown
    from factcensus.indexer import write_table
    from factcensus.indexer.system.files import write_atomically, write_json

    worlds = design.worlds(studies, design.least)
    write_table(pa.Table.from_pandas(worlds, preserve_index=False), out / "worlds.parquet")
    findings = find(worlds, design.outcomes)
    conclusion = conclusion_of(findings, design.conclusions)
    write_atomically(out / "tables.md", markdown(findings, conclusion) + "\n", shared=True)
    results = {"question": design.question, "conclusion": conclusion, "findings": findings_json(findings)}
    write_json(out / RESULTS, results)
    read: dict[str, Any] = json.loads((out / RESULTS).read_text(encoding="utf-8"))
    return read
