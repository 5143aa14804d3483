"""The commands ``factcensus eval run`` and ``eval metrics``: ask and attack models, and explain each metric."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factcensus.indexer.cli.command import Function, argument, command, option
from factcensus.indexer.cli.options import (
    OUTPUT_FOLDER,
    PATH,
    Choice,
    Names,
    Number,
    Value,
    Whole,
    columns_option,
    complete_path,
    json_option,
    notice,
)
from factcensus.indexer.system.console import print_json

if TYPE_CHECKING:
    from factcensus.eval.extras import Extras

ATTACKS, UTILITY = "attacks", "utility"


class Steps(Value):
    """Numbers separated by commas, in ascending order; by default numbers of steps, from 1."""

    name = "steps"

    def __init__(self, least: int = 1) -> None:
        self._least = least
        self.expected = f"integers of at least {least} separated by commas"

    def read(self, text: str) -> tuple[int, ...]:
        """Parse the numbers and remove duplicates."""
        return tuple(sorted({Whole(self._least).read(part.strip()) for part in text.split(",")}))


def _known_forms() -> Sequence[str]:
    from factcensus.eval.asking.questions import FORMS

    return FORMS


def _known_attacks() -> Sequence[str]:
    from factcensus.eval.attacks.run import ATTACKS

    return [*ATTACKS, "all"]


def _evaluator_options(function: Function) -> Function:
    """Add the options of :class:`factcensus.eval.evaluator.StandardEvaluator`, under the names of its fields."""
    for add in (
        option("--batch-tokens", type=Whole(1), default=4096, metavar="N", help="number of tokens per batch"),
        option("--distractors", type=Whole(0), default=3, metavar="N", help="number of wrong answers per fact"),
        option("--samples", type=Whole(0), default=8, metavar="N", help="number of samples per forget question"),
        option("--paraphrases", type=Whole(0), default=1, metavar="N", help="number of paraphrases asked per fact"),
        option(
            "--forms",
            type=Names(_known_forms),
            metavar="LIST",
            default_text="all forms that the table allows",
            help="forms of asking, separated by commas: question, cloze, paraphrase, reversed, document",
        ),
    ):
        function = add(function)
    return function


def _extra_options(function: Function) -> Function:
    """Add the options of attacks, neutral text and benchmark tasks."""
    for add in (
        option(
            "--task-shots",
            type=Whole(0),
            metavar="N",
            heading=UTILITY,
            default_text="as the task defines",
            help="number of solved examples in the prompt",
        ),
        option(
            "--task-limit",
            type=Whole(1),
            metavar="N",
            heading=UTILITY,
            default_text="all",
            help="number of items per task",
        ),
        option(
            "--task-folder", type=PATH, metavar="DIR", heading=UTILITY, help="folder of your own task files for lm-eval"
        ),
        option(
            "--tasks",
            type=Names(),
            default=(),
            metavar="LIST",
            heading=UTILITY,
            help="tasks of lm-eval, separated by commas (needs the extra lm-eval)",
        ),
        option(
            "--neutral-documents",
            type=Whole(1),
            default=200,
            metavar="N",
            heading=UTILITY,
            help="number of documents taken from the neutral text",
        ),
        option(
            "--neutral",
            several=True,
            type=PATH,
            metavar="SOURCE...",
            heading=UTILITY,
            help="text for perplexity and KL from the original: .jsonl or .parquet files, or folders of them",
        ),
        option(
            "--relearn-steps",
            type=Steps(),
            metavar="LIST",
            heading=ATTACKS,
            default_text="2,8,32",
            help="numbers of relearning steps after which the model is asked",
        ),
        option(
            "--relearn-rate",
            type=Number("a learning rate above 0 and below 1", 0, 1),
            metavar="X",
            heading=ATTACKS,
            default_text="that of the run, or 1e-5",
            help="learning rate of relearning",
        ),
        option(
            "--attacks",
            type=Names(_known_attacks),
            default=(),
            metavar="LIST",
            heading=ATTACKS,
            help="attacks, separated by commas: relearn, quantise, few_shot, paraphrase, sample, probe, membership; "
            "or all",
        ),
    ):
        function = add(function)
    return function


@command(
    "run",
    needs={
        "relearn_rate": "attacks",
        "relearn_steps": "attacks",
        "neutral_documents": "neutral",
        "task_folder": "tasks",
        "task_limit": "tasks",
        "task_shots": "tasks",
    },
    example="factcensus eval run model/ --facts strata.parquet --out runs/before\n"
    "factcensus eval run runs/simnpo --facts strata.parquet --out runs/again --attacks relearn,quantise",
)
@argument(
    "model",
    shell_complete=complete_path,
    metavar="RUN|MODEL",
    help="a run folder with kept models, the folder of a model, or a hub name",
)
@option("--facts", type=PATH, required=True, metavar="TABLE", help="fact table: .parquet, .csv or .jsonl")
@columns_option
@option("--out", type=OUTPUT_FOLDER, required=True, metavar="DIR", help="the new run folder")
@option("--method", metavar="NAME", default_text="original", help="name of a single model in the tables")
@option("--seed", type=Whole(0), metavar="N", default_text="that of the run, or 0", help="seed of the model")
@option(
    "--template",
    type=Choice(["plain", "chat"]),
    default_text="that of the run, or plain",
    help="format of questions: plain text, or a chat message",
)
@option(
    "--opening",
    type=Choice(["tokenizer", "end-of-text"]),
    default_text="that of the run, or tokenizer",
    help="tokens before every text, including a cloze: those of the tokenizer, or its end-of-text token",
)
@option(
    "--count-column",
    metavar="NAME",
    default_text="that of the run, or cooccurrence_documents",
    help="count column of the fact table used in all comparisons",
)
@_evaluator_options
@option(
    "--as-published",
    is_flag=True,
    help="add the measures of the paper on frequency and unlearning: few_shot_true_margin, rouge_l_recall_with_prompt",
)
@option(
    "--log-samples",
    is_flag=True,
    help="keep the text of every sampled answer, in facts.parquet and answers.jsonl",
)
@option("--device", type=Choice(["auto", "cpu", "cuda"]), default="auto", help="device that runs the model")
@_extra_options
@json_option
def run(  # noqa: PLR0913  # one argument per option
    model: str,
    facts: Path,
    columns: dict[str, str],
    out: Path,
    method: str | None,
    seed: int | None,
    template: str | None,
    opening: str | None,
    count_column: str | None,
    device: str,
    as_json: bool,
    forms: tuple[str, ...] | None,
    paraphrases: int,
    samples: int,
    distractors: int,
    batch_tokens: int,
    as_published: bool,
    log_samples: bool,
    **extras: Any,
) -> None:
    """Ask a model, or all models of a run, about every fact of a table, and optionally attack it."""
    from dataclasses import replace

    from factcensus.eval.asking.prompting import Prompting
    from factcensus.eval.asking.questions import FORMS
    from factcensus.eval.evaluator import StandardEvaluator
    from factcensus.eval.model_run import evaluate_models, models_of, with_uses_of
    from factcensus.eval.report.page import write_results
    from factcensus.eval.report.printed import show_summary
    from factcensus.eval.runs import count_column_of, read_run
    from factcensus.indexer import InputError, read_facts
    from factcensus.indexer.tables.added import check_one_analyzer
    from factcensus.indexer.tables.complete import complete_facts
    from factcensus.unlearn.progress import stderr_progress

    for name in ("relearn_rate", "relearn_steps"):
        if extras[name] is not None and not {"relearn", "all"} & {*extras["attacks"]}:
            raise InputError(f"--{name.replace('_', '-')} has no effect without the attack relearn")
    if log_samples and samples == 0:
        raise InputError("--log-samples has no effect with --samples 0, which draws no samples; leave one of them out")
    models, record = models_of(model)
    if record is not None and method is not None:
        raise InputError(f"--method names a single model, and {model} is a run, whose models have names; leave it out")
    table = complete_facts(read_facts(facts, columns=columns, notice=notice))
    check_one_analyzer(table)
    if record is None:
        models = [replace(models[0], method=method or models[0].method)]
    else:
        table = with_uses_of(Path(model), table)
    settings: dict[str, Any] = (record or {}).get("config") or {}
    out = evaluate_models(
        models,
        table,
        out,
        seed=settings.get("seed", 0) if seed is None else seed,
        prompting=Prompting.of(record, template, opening),
        count_column=count_column or count_column_of(record or {}),
        device=device,
        evaluator=StandardEvaluator(
            paraphrases=paraphrases,
            batch_tokens=batch_tokens,
            forms=forms or FORMS,
            distractors=distractors,
            samples=samples,
            as_published=as_published,
            log_samples=log_samples,
        ),
        extras=_extras(settings, **extras),
        progress=stderr_progress(),
    )
    found = read_run(out)
    if models[0].method != "original":
        if as_json:
            print_json({"run": out, "method": models[0].method, "summary": None})
        else:
            print(
                f"{out}: wrote facts.parquet and tokens.parquet; pool it with the original model's run with "
                "'factcensus report'"
            )
        return
    show_summary(write_results(found, out), out / "report.html", as_json=as_json)


def _extras(  # noqa: PLR0913  # one argument per option
    settings: dict[str, Any],
    *,
    attacks: tuple[str, ...],
    relearn_rate: float | None,
    relearn_steps: tuple[int, ...] | None,
    neutral: tuple[Path, ...],
    neutral_documents: int,
    tasks: tuple[str, ...],
    task_folder: Path | None,
    task_shots: int | None,
    task_limit: int | None,
) -> Extras:
    """Return the attacks, neutral text and benchmarks of the command line, completed by the run's own settings."""
    from factcensus.eval.asking.benchmarks import BenchmarkSettings
    from factcensus.eval.attacks.run import ATTACKS
    from factcensus.eval.attacks.target import AttackSettings
    from factcensus.eval.extras import Extras

    given: dict[str, Any] = {
        "relearn_rate": relearn_rate or (settings.get("training") or {}).get("learning_rate"),
        "relearn_steps": relearn_steps,
    }
    return Extras(
        attacks=tuple(ATTACKS) if "all" in attacks else attacks,
        attack_settings=AttackSettings(**{name: value for name, value in given.items() if value is not None}),
        neutral=_texts(neutral, neutral_documents),
        benchmarks=BenchmarkSettings(tasks, task_folder, shots=task_shots, limit=task_limit) if tasks else None,
    )


def _texts(sources: Sequence[Path], number: int) -> tuple[str, ...]:
    """Return the first documents of the sources."""
    from itertools import chain, islice

    from factcensus.indexer.corpus import find_source_files, read_documents

    if not sources:
        return ()
    documents = chain.from_iterable(read_documents(file) for file in find_source_files(sources, notice=notice))
    return tuple(document.text.decode() for document in islice(documents, number))


@command("metrics", exclusive=[("markdown", "as_json")], example="factcensus eval metrics truth_ratio choice_margin")
@argument("names", nargs=-1, metavar="[NAME]...", help="a column of facts.parquet, or an attack; all if none is given")
@option("--markdown", is_flag=True, help="print Markdown, as in docs/metrics.md")
@json_option
def metrics(names: tuple[str, ...], markdown: bool, as_json: bool) -> None:
    """Explain metrics: what each one measures, how to read it, and when it misleads."""
    from dataclasses import asdict

    from factcensus.eval.metrics.cards import CARDS, as_markdown, as_text, card
    from factcensus.indexer.names import unknown_name

    chosen = []
    for name in names:
        found = card(name)
        if found is None:
            raise unknown_name("metric", name, [each.name.partition(" ")[0] for each in CARDS])
        chosen.append(found)
    cards = chosen or CARDS
    if as_json:
        print_json([asdict(each) for each in cards])
    else:
        print((as_markdown if markdown else as_text)(cards).rstrip("\n"))
