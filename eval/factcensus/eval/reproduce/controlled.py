"""``factcensus reproduce controlled``: worlds × model sizes × methods × doses, one report.

OUT/run.json                settings, seeds, versions, commit, seconds
OUT/results.json            the slopes over size and the conclusion
OUT/doses.parquet           one row per seed, size, method and dose
OUT/matched.parquet         the same, interpolated at equal forgetting
OUT/tables.md               the tables of docs/reproduce.md
OUT/report.html             the page: sizes first, then the largest model at the nearest dose
OUT/SIZE/seed-S/            the run folders; OUT/work has worlds, indexes, counts and models
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factcensus.eval.errors import EvaluationInputError
from factcensus.indexer.cli.command import command, option
from factcensus.indexer.cli.options import OUTPUT_FOLDER, Choice, Whole, json_option
from factcensus.unlearn.progress import ProgressFunction

if TYPE_CHECKING:
    import pandas as pd

    from factcensus.eval.reproduce.doses import DoseRule
    from factcensus.eval.reproduce.grid import Grid
    from factcensus.eval.reproduce.sizes import ControlledSettings
    from factcensus.eval.reproduce.tables import Findings
    from factcensus.eval.runs import Run
    from factcensus.eval.study import Study

RESULTS = "results.json"
#: A cautious rate for GPT-2 in bfloat16 on a data-centre GPU, for the hours of a plan; never measured.
PLANNED_FLOP_PER_SECOND = 3e13


@command(
    "controlled",
    exclusive=[("plan", "jobs")],
    example="factcensus reproduce controlled --size smoke --out controlled\n"
    "factcensus reproduce controlled --size cpu --out controlled\n"
    "factcensus reproduce controlled --size paper --plan --out paper",
)
@option(
    "--size",
    type=Choice(["smoke", "cpu", "paper"]),
    default="smoke",
    help="smoke (a test, about a minute), cpu (about half an hour on two free cores) or paper (needs a GPU)",
)
@option("--out", type=OUTPUT_FOLDER, required=True, metavar="DIR", help="the folder of all results")
@option("--worlds", type=Whole(1), metavar="N", default_text="2, 10 or 3, depending on --size", help="number of worlds")
@option(
    "--jobs",
    type=Whole(1),
    metavar="N",
    default_text="the number of processors, or 1 on a GPU",
    help="studies at a time",
)
@option("--plan", is_flag=True, help="print tokens, operations and memory of every model, and train nothing")
@json_option
def controlled(size: str, out: Path, worlds: int | None, jobs: int | None, plan: bool, as_json: bool) -> None:
    """Measure forgetting by count and by model size in invented worlds.

    Trains models of several sizes on each world, unlearns with several methods up to equal forgetting, and compares
    probability with generation. The same command continues an interrupted run; a larger --worlds extends it.
    """
    from factcensus.eval.reproduce.grid import run_grid
    from factcensus.eval.reproduce.sizes import CONTROLLED
    from factcensus.indexer.system.console import print_json

    settings = CONTROLLED[size]
    grid = grid_of(size, settings, worlds)
    if plan:
        _show_plan(grid, out, as_json=as_json)
        return
    on_gpu = settings.models[0].device == "cuda"
    if on_gpu:
        _check_gpu(size)
        jobs = jobs or 1
    results = run_grid(grid, out, lambda studies: conclude(studies, out, settings.rule), jobs=jobs)
    if as_json:
        print_json(results)
        return
    print((out / "tables.md").read_text(encoding="utf-8"))
    print(f"{results['conclusion']}\n\nreport: {(out / 'report.html').resolve().as_uri()}")


def _show_plan(grid: Grid, out: Path, *, as_json: bool) -> None:
    from factcensus.eval.reproduce.plan import plan_grid, plan_json
    from factcensus.indexer.system.console import print_json, print_table
    from factcensus.indexer.system.files import write_json
    from factcensus.unlearn.progress import stderr_progress

    plans = plan_grid(grid, out, stderr_progress())
    write_json(out / "plan.json", plan_json(plans))
    if as_json:
        print_json(plan_json(plans))
        return
    rows = [
        [
            each.model,
            f"{each.parameters:,}",
            each.models,
            f"{each.steps:,}",
            f"{each.tokens:,}",
            f"{each.flop:.2g}",
            f"{each.bytes / 2**30:.3g}",
            f"{each.unlearning_bytes / 2**30:.3g}",
            f"{each.hours(PLANNED_FLOP_PER_SECOND):.2g}",
        ]
        for each in plans
    ]
    print_table(
        rows, ["model", "parameters", "models", "steps", "tokens", "FLOP", "GiB", "GiB unlearning", "hours of training"]
    )
    print(
        f"steps, tokens and FLOP of one model; hours of all models at {PLANNED_FLOP_PER_SECOND:g} FLOP/s, an assumption"
    )


def _check_gpu(size: str) -> None:
    import torch

    if not torch.cuda.is_available():
        raise EvaluationInputError(
            f"--size {size} needs a CUDA device, and torch finds none; --plan shows its cost, --size cpu runs here"
        )


def grid_of(size: str, settings: ControlledSettings, worlds: int | None = None) -> Grid:
    """Return the grid of one size, with another number of worlds if it is given."""
    from factcensus.eval.reproduce.grid import Grid

    seeds = settings.seeds if worlds is None else tuple(range(worlds))
    oracles = tuple(seed for seed in settings.oracle_seeds if seed in seeds)
    return Grid(f"controlled {size}", settings.models, seeds, run_study, (settings.rule, settings.evaluator), oracles)


def run_study(study: Study, rule: DoseRule, evaluator: dict[str, Any], progress: ProgressFunction) -> None:
    """Train the model of a study and unlearn it with every method at rising doses."""
    from factcensus.eval.reproduce.doses import run_doses
    from factcensus.eval.study import train_model

    train_model(study, progress)
    run_doses(study, rule, evaluator, progress)


def conclude(studies: list[Study], out: Path, rule: DoseRule) -> dict[str, Any]:
    """Write tables, results and report of finished studies; return the results."""
    from factcensus.eval.reproduce import size_effect as effect
    from factcensus.eval.reproduce.tables import Findings, markdown_report
    from factcensus.indexer.system.files import write_atomically, write_json

    doses, originals = effect.dose_table(studies), effect.original_table(studies)
    found = Findings(
        matched=effect.matched(doses, originals, rule.lost),
        half=effect.matched(doses, originals, rule.lost / 2),
        same_dose=effect.common_doses(doses),
        originals=originals,
        oracles=effect.oracle_table(studies),
        strata=effect.labels_of_strata(studies),
        lost=rule.lost,
    )
    _write(doses, out / "doses.parquet")
    _write(found.matched, out / "matched.parquet")
    write_atomically(out / "tables.md", markdown_report(found))

    def slopes(rows: pd.DataFrame, outcomes: Iterable[str]) -> dict[str, Any]:
        return {
            name: {method: asdict(each) for method, each in effect.size_effect(rows, name).items()} for name in outcomes
        }

    indices = (effect.PRIMARY, "excess_cloze")
    results: dict[str, Any] = {
        "rule": asdict(rule),
        "margin": effect.MARGIN,
        "worlds": sorted({study.seed for study in studies}),
        "primary": effect.PRIMARY,
        "conclusion": effect.conclusion(effect.size_effect(found.matched, effect.PRIMARY)["all"]),
        "slopes_over_size": slopes(found.matched, effect.OUTCOMES),
        "slopes_over_size_at_half": slopes(found.half, indices),
        "slopes_over_size_at_equal_dose": slopes(found.same_dose, indices),
    }
    write_json(out / RESULTS, results)
    _write_report(studies, out, found, doses)
    return results


def _write(frame: pd.DataFrame, path: Path) -> None:
    import pyarrow as pa

    from factcensus.indexer import write_table

    write_table(pa.Table.from_pandas(frame, preserve_index=False), path)


def _write_report(studies: list[Study], out: Path, findings: Findings, doses: pd.DataFrame) -> None:
    """Write report.html: the section about sizes, the runs side by side, then the largest model."""
    from factcensus.eval.report.page import write_report
    from factcensus.eval.report.side_by_side import Experiment, side_by_side
    from factcensus.eval.reproduce.tables import size_section
    from factcensus.eval.runs import pool_runs, summary_of

    sizes = list(findings.matched.sort_values("parameters", ascending=False)["size"].unique())
    found = []
    for size in sizes:
        of_size = [study for study in studies if study.part == size]
        runs = [_at_nearest_dose(study, doses, findings.lost) for study in of_size]
        run = pool_runs([*runs, *(_oracle(each) for each in of_size if (each.oracle / "facts.parquet").is_file())])
        found.append(Experiment(size, run, summary_of(run), "the models differ in size"))
    write_report(
        out / "report.html",
        found[0].run,
        found[0].summary,
        title="Unlearning by count and by model size",
        first=[size_section(findings.matched, findings.strata, findings.lost), side_by_side(found)],
    )


def _at_nearest_dose(study: Study, doses: pd.DataFrame, lost: float) -> Run:
    """Return the run of a study with each method at the dose whose loss of G is nearest, under the method's name."""
    from factcensus.eval.names import ORIGINAL
    from factcensus.eval.reproduce.doses import dose_name
    from factcensus.eval.runs import read_run

    mine = doses[(doses["seed"] == study.seed) & (doses["size"] == study.part)]
    nearest = mine.loc[(mine["lost"] - lost).abs().groupby(mine["method"], sort=False).idxmin()]
    names = {dose_name(row["method"], row["passes"]): row["method"] for _, row in nearest.iterrows()}
    run = read_run(study.run)

    def kept(table: pd.DataFrame) -> pd.DataFrame:
        rows = table[table["method"].isin([ORIGINAL, *names])]
        return rows.assign(method=rows["method"].replace(names))

    return replace(run, facts=kept(run.facts), steps=kept(run.steps))


def _oracle(study: Study) -> Run:
    """Return the run of an oracle, in the forms in which the unlearned models were asked."""
    from factcensus.eval.names import MAIN_FORMS
    from factcensus.eval.runs import read_run

    run = read_run(study.oracle)
    return replace(run, facts=run.facts[run.facts["form"].isin(MAIN_FORMS)])
