"""The commands of this part: ``demo``, ``eval run`` and ``report``. Results on stdout, progress on stderr."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from factcensus.eval import run_commands
from factcensus.indexer.cli import Subparsers, add_command, add_group


def add_commands(subparsers: Subparsers) -> None:
    """Add this part's commands to the root command."""
    _add_demo(subparsers)
    verbs = add_group(subparsers, "eval", help="ask models what they know, and measure it")
    _add_run(verbs)
    run_commands.add_commands(verbs)
    _add_report(subparsers)


def _add_demo(subparsers: Subparsers) -> None:
    demo = add_command(
        subparsers,
        "demo",
        _demo,
        help="the whole way once: a small world, its index and service, models, unlearning, evaluation, a report; "
        "the same command continues an interrupted one",
        example="factcensus demo --preset smoke --out demo",
    )
    demo.add_argument(
        "--preset",
        default="demo",
        choices=("smoke", "demo", "gpu"),
        help="smoke (a minute, one seed), demo (minutes on two CPU cores, two seeds; the default) or gpu",
    )
    demo.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR", help="the run folder (default: demo)")
    _add_json(demo)


def _add_run(verbs: Subparsers) -> None:
    run = add_command(
        verbs,
        "run",
        _run,
        help="ask a model, or all models that a run has kept, every question of a fact table",
        example="factcensus eval run model/ --facts strata.parquet --out runs/before\n"
        "factcensus eval run runs/simnpo --facts strata.parquet --out runs/again",
    )
    run.add_argument(
        "model", metavar="RUN|MODEL", help="a run folder with kept models, a model's folder, or a hub name"
    )
    run.add_argument("--facts", type=Path, required=True, metavar="TABLE", help=".parquet, .csv or .jsonl")
    run.add_argument("--out", type=Path, required=True, metavar="DIR", help="the new run folder")
    run.add_argument("--method", metavar="NAME", help="what one model is called in the tables (default: original)")
    run.add_argument("--seed", type=int, metavar="N", help="the seed it belongs to (default: the run's, else 0)")
    run.add_argument(
        "--template",
        choices=("plain", "chat"),
        help="how a question becomes a prompt: as it stands, or as a chat message (default: the run's, else plain)",
    )
    run.add_argument("--paraphrases", type=_count, default=1, metavar="N", help="paraphrases asked a fact (default 1)")
    run.add_argument("--batch-tokens", type=_positive, default=4096, metavar="N", help="tokens a batch (default 4096)")
    run.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: auto)")
    _add_json(run)


def _add_report(subparsers: Subparsers) -> None:
    report = add_command(
        subparsers,
        "report",
        _report,
        help="one self-contained HTML page from run folders; seeds are pooled, and shown one by one",
        example="factcensus report runs/seed-0 runs/seed-1 --out report.html",
    )
    report.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a finished run folder")
    report.add_argument("--out", type=Path, required=True, metavar="FILE", help="the page, such as report.html")
    report.add_argument("--title", metavar="TEXT", help="the page's heading")
    _add_json(report)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="the summary as one JSON object on stdout")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more")
    return int(text)


def _positive(text: str) -> int:
    if _count(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def _demo(arguments: argparse.Namespace) -> None:
    from factcensus.eval.demo import run_demo

    summary = run_demo(arguments.preset, arguments.out)
    _show(summary, arguments.out / "report.html", as_json=arguments.json)


def _run(arguments: argparse.Namespace) -> None:
    from dataclasses import replace

    from factcensus.eval.evaluator import StandardEvaluator
    from factcensus.eval.model_run import evaluate_models, models_of, with_uses_of
    from factcensus.eval.run_folder import read_run, write_results
    from factcensus.indexer import read_facts
    from factcensus.unlearn.progress import Progress

    models, record = models_of(arguments.model)
    facts = read_facts(arguments.facts)
    if record is None:
        models = [replace(models[0], method=arguments.method or models[0].method)]
    else:
        facts = with_uses_of(Path(arguments.model), facts)

    def report(progress: Progress) -> None:
        print(f"{progress.stage}: {progress.done} of {progress.total}", file=sys.stderr, flush=True)

    settings: dict[str, Any] = (record or {}).get("config") or {}
    out = evaluate_models(
        models,
        facts,
        arguments.out,
        seed=settings.get("seed", 0) if arguments.seed is None else arguments.seed,
        template=arguments.template or settings.get("template", "plain"),
        device=arguments.device,
        evaluator=StandardEvaluator(paraphrases=arguments.paraphrases, batch_tokens=arguments.batch_tokens),
        progress=report,
    )
    run = read_run(out)
    if models[0].method != "original":
        print(f"{out}: facts.parquet and tokens.parquet; pool it with the original model's run by 'factcensus report'")
        return
    _show(write_results(run, out), out / "report.html", as_json=arguments.json)


def _report(arguments: argparse.Namespace) -> None:
    from factcensus.eval.report import write_report
    from factcensus.eval.run_folder import pool_runs, read_run, summary_of

    run = pool_runs([read_run(folder) for folder in arguments.runs])
    summary = summary_of(run)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_report(arguments.out, run, summary, title=arguments.title)
    _show(summary, arguments.out, as_json=arguments.json)


def _show(summary: dict[str, Any], report: Path, *, as_json: bool) -> None:
    """The result on stdout: tables, findings and where the report lies; or the summary."""
    from factcensus.eval.findings import findings
    from factcensus.eval.printed import summary_text

    if as_json:
        print(json.dumps(summary))
        return
    parts = [summary_text(summary)]
    parts += ["\n".join([f"{heading}:", *(f"* {each}" for each in said)]) for heading, said in findings(summary)]
    print("\n\n".join(part for part in parts if part))
    print(f"\nreport: {report.resolve().as_uri()}")
