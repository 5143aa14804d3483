"""``factcensus eval run`` and ``eval metrics``: asking and attacking models, and what each metric means."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factcensus.indexer.cli import Subparsers, add_command

if TYPE_CHECKING:
    from factcensus.eval.asking.extras import Extras
    from factcensus.eval.evaluator import StandardEvaluator


def add_commands(verbs: Subparsers) -> None:
    """Add the commands."""
    _add_run(verbs)
    metrics = add_command(
        verbs,
        "metrics",
        _metrics,
        help="what each metric is, how to read it, and when it misleads",
        example="factcensus eval metrics truth_ratio choice_margin",
    )
    metrics.add_argument("names", nargs="*", metavar="NAME", help="a column of facts.parquet, or an attack")
    metrics.add_argument("--markdown", action="store_true", help="as docs/metrics.md")
    metrics.add_argument("--json", action="store_true", help="a JSON list on stdout")


def _add_run(verbs: Subparsers) -> None:
    run = add_command(
        verbs,
        "run",
        _run,
        help="ask a model, or all models that a run has kept, every question of a fact table; attack them",
        example="factcensus eval run model/ --facts strata.parquet --out runs/before\n"
        "factcensus eval run runs/simnpo --facts strata.parquet --out runs/again --attacks relearn,quantise",
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
    run.add_argument("--forms", type=_names, metavar="LIST", help="forms of asking (default: all that the table has)")
    run.add_argument("--paraphrases", type=_count, default=1, metavar="N", help="paraphrases asked a fact (default 1)")
    run.add_argument("--samples", type=_count, default=8, metavar="N", help="samples a forget question (default 8)")
    run.add_argument("--distractors", type=_count, default=3, metavar="N", help="wrong answers a fact (default 3)")
    run.add_argument("--batch-tokens", type=_positive, default=4096, metavar="N", help="tokens a batch (default 4096)")
    run.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: auto)")
    _add_extras(run)
    run.add_argument("--json", action="store_true", help="the summary as one JSON object on stdout")


def _add_extras(run: argparse.ArgumentParser) -> None:
    run.add_argument(
        "--attacks",
        type=_names,
        default=(),
        metavar="LIST",
        help="of relearn, quantise, few_shot, paraphrase, sample, probe, membership, separated by commas; or all",
    )
    run.add_argument(
        "--relearn-rate", type=_rate, metavar="X", help="learning rate of relearning (default: the run's, else 1e-5)"
    )
    run.add_argument("--relearn-steps", type=_steps, metavar="LIST", help="when to ask (default 2,8,32)")
    run.add_argument(
        "--neutral",
        nargs="+",
        type=Path,
        default=[],
        metavar="SOURCE",
        help="text for perplexity and KL to the original: .jsonl, .parquet, or folders of them",
    )
    run.add_argument(
        "--neutral-documents", type=_positive, default=200, metavar="N", help="first so many (default 200)"
    )
    run.add_argument("--tasks", type=_names, default=(), metavar="LIST", help="tasks of lm-eval, an extra")
    run.add_argument("--task-folder", type=Path, metavar="DIR", help="task files of your own for lm-eval")
    run.add_argument("--task-limit", type=_positive, metavar="N", help="items of each task (default: all)")
    run.add_argument("--task-shots", type=_count, metavar="N", help="solved examples (default: the task's)")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more")
    return int(text)


def _positive(text: str) -> int:
    if _count(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a learning rate: expected a number above 0 and below 1")
    return value


def _names(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise argparse.ArgumentTypeError(f"{text!r} has no name; separate names by commas")
    return names


def _steps(text: str) -> tuple[int, ...]:
    return tuple(sorted({_positive(part) for part in _names(text)}))


def _run(arguments: argparse.Namespace) -> None:
    from dataclasses import replace

    from factcensus.eval.model_run import evaluate_models, models_of, with_uses_of
    from factcensus.eval.report.page import write_results
    from factcensus.eval.report.printed import show_summary
    from factcensus.eval.run_folder import read_run
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
        evaluator=_evaluator(arguments),
        extras=_extras(arguments, settings),
        progress=report,
    )
    run = read_run(out)
    if models[0].method != "original":
        print(f"{out}: facts.parquet and tokens.parquet; pool it with the original model's run by 'factcensus report'")
        return
    show_summary(write_results(run, out), out / "report.html", as_json=arguments.json)


def _evaluator(arguments: argparse.Namespace) -> StandardEvaluator:
    from factcensus.eval.asking.questions import FORMS
    from factcensus.eval.evaluator import StandardEvaluator

    return StandardEvaluator(
        paraphrases=arguments.paraphrases,
        batch_tokens=arguments.batch_tokens,
        forms=arguments.forms or FORMS,
        distractors=arguments.distractors,
        samples=arguments.samples,
    )


def _extras(arguments: argparse.Namespace, settings: dict[str, Any]) -> Extras:
    """Attacks, neutral text and benchmarks as the command line and the run's own settings have them."""
    from factcensus.eval.asking.benchmarks import BenchmarkSettings
    from factcensus.eval.asking.extras import Extras
    from factcensus.eval.attacks.run import ATTACKS, check_attacks
    from factcensus.eval.attacks.target import AttackSettings

    names = tuple(ATTACKS) if arguments.attacks == ("all",) else check_attacks(arguments.attacks)
    given = {
        "relearn_rate": arguments.relearn_rate or (settings.get("training") or {}).get("learning_rate"),
        "relearn_steps": arguments.relearn_steps,
    }
    tasks = None
    if arguments.tasks:
        tasks = BenchmarkSettings(
            arguments.tasks, arguments.task_folder, shots=arguments.task_shots, limit=arguments.task_limit
        )
    return Extras(
        attacks=names,
        attack_settings=AttackSettings(**{name: value for name, value in given.items() if value is not None}),
        neutral=_texts(arguments.neutral, arguments.neutral_documents),
        benchmarks=tasks,
    )


def _texts(sources: list[Path], number: int) -> tuple[str, ...]:
    """The first documents of the sources."""
    from itertools import chain, islice

    from factcensus.indexer.corpus import find_source_files, read_documents

    if not sources:
        return ()
    documents = chain.from_iterable(read_documents(file) for file in find_source_files(sources))
    return tuple(document.text.decode() for document in islice(documents, number))


def _metrics(arguments: argparse.Namespace) -> None:
    from dataclasses import asdict

    from factcensus.eval.errors import EvaluationInputError
    from factcensus.eval.metrics.cards import CARDS, as_markdown, as_text, card

    chosen = []
    for name in arguments.names:
        found = card(name)
        if found is None:
            known = ", ".join(each.name.partition(" ")[0] for each in CARDS)
            raise EvaluationInputError(f"there is no metric {name!r}; there are: {known}")
        chosen.append(found)
    cards = chosen or CARDS
    if arguments.json:
        print(json.dumps([asdict(each) for each in cards]))
    else:
        print((as_markdown if arguments.markdown else as_text)(cards).rstrip("\n"))
