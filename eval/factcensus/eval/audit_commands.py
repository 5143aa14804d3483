"""The command ``factcensus eval audit``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from factcensus.eval.measure_commands import Steps
from factcensus.indexer.cli.command import argument, command, option
from factcensus.indexer.cli.options import (
    OUTPUT_FOLDER,
    PATH,
    PLACE,
    Choice,
    Number,
    Whole,
    columns_option,
    complete_path,
    json_option,
    notice,
)
from factcensus.indexer.system.console import print_json

if TYPE_CHECKING:
    from factcensus.indexer.system.places import Place

COMPARISON, RELEARNING = "made-up people", "relearning"


@command(
    "audit",
    needs={"relearn": "examples", "relearn_rate": "relearn", "relearn_steps": "relearn"},
    example="factcensus eval audit model/ --facts person.csv --out audits/roe\n"
    "factcensus eval audit model/ --facts person.csv --out audits/roe --index indexes/corpus --examples others.csv "
    "--relearn",
)
@argument("model", shell_complete=complete_path, metavar="MODEL", help="the folder of a model, or a hub name")
@option("--facts", type=PATH, required=True, metavar="TABLE", help="facts about the person: .csv, .jsonl or .parquet")
@columns_option
@option("--out", type=OUTPUT_FOLDER, required=True, metavar="DIR", help="the folder of the audit")
@option(
    "--examples",
    type=PATH,
    metavar="TABLE",
    help="facts about other people: solved questions in prompts, other answers for reversed questions, and material "
    "for --relearn",
)
@option("--samples", type=Whole(0), default=8, metavar="N", help="number of sampled answers per question and seed")
@option("--seeds", type=Steps(0), default="0,1,2", metavar="LIST", help="seeds of the samples, separated by commas")
@option(
    "--template",
    type=Choice(["plain", "chat"]),
    default="plain",
    help="format of questions: plain text, or a chat message",
)
@option(
    "--opening",
    type=Choice(["tokenizer", "end-of-text"]),
    default="tokenizer",
    help="tokens before every text: those of the tokenizer, or its end-of-text token",
)
@option("--batch-tokens", type=Whole(1), default=4096, metavar="N", help="number of tokens per batch")
@option("--device", type=Choice(["auto", "cpu", "cuda"]), default="auto", help="device that runs the model")
@option(
    "--made-up",
    type=Whole(99),
    default=199,
    metavar="N",
    heading=COMPARISON,
    help="number of never-seen people to ask about for comparison",
)
@option(
    "--names",
    type=PATH,
    metavar="FILE",
    heading=COMPARISON,
    default_text="made up",
    help="names of people the model never saw, one per line; for example of the same language",
)
@option(
    "--index",
    type=PLACE,
    metavar="INDEX",
    heading=COMPARISON,
    help="an index of the training corpus; names that occur in it are not used",
)
@option("--relearn", is_flag=True, heading=RELEARNING, help="train briefly on the examples, then ask again")
@option("--relearn-steps", type=Whole(1), default=32, metavar="N", heading=RELEARNING, help="number of training steps")
@option(
    "--relearn-rate",
    type=Number("a learning rate above 0 and below 1", 0, 1),
    default=1e-5,
    metavar="RATE",
    heading=RELEARNING,
    help="learning rate",
)
@json_option
def audit(  # noqa: PLR0913  # one argument per option
    model: str,
    facts: Path,
    columns: dict[str, str],
    out: Path,
    examples: Path | None,
    samples: int,
    seeds: tuple[int, ...],
    template: str,
    opening: str,
    batch_tokens: int,
    device: str,
    made_up: int,
    names: Path | None,
    index: Place | None,
    relearn: bool,
    relearn_steps: int,
    relearn_rate: float,
    as_json: bool,
) -> None:
    """Audit what a model knows about a person, and write a report for readers who are not experts.

    Asks about each fact in many ways, shows every answer, and compares the answers with those about people who do not
    exist. The same command continues an interrupted audit.
    """
    from factcensus.eval.asking.prompting import Prompting
    from factcensus.eval.audit.people import read_names
    from factcensus.eval.audit.printed import audit_text
    from factcensus.eval.audit.run import AuditSettings, audit_model
    from factcensus.indexer import CountIndex, read_facts
    from factcensus.unlearn.progress import stderr_progress

    with ExitStack() as opened:
        corpus = None if index is None else opened.enter_context(CountIndex.open(index))
        found = audit_model(
            model,
            read_facts(facts, columns=columns, notice=notice),
            out,
            examples=None if examples is None else read_facts(examples, columns=columns, notice=notice),
            names=None if names is None else read_names(names),
            in_corpus=None if corpus is None else lambda name: corpus.count(name).documents > 0,
            corpus=None if corpus is None else corpus.info().name,
            settings=AuditSettings(
                made_up=made_up,
                samples=samples,
                seeds=seeds,
                relearn=relearn,
                relearn_steps=relearn_steps,
                relearn_rate=relearn_rate,
                batch_tokens=batch_tokens,
            ),
            prompting=Prompting(template, opening=opening),
            device=device,
            progress=stderr_progress(),
        )
    if as_json:
        print_json({**found.as_json(), "report": out / "report.html"})
    else:
        print(f"{audit_text(found)}\n\nreport: {(out / 'report.html').resolve().as_uri()}")
