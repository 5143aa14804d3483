"""All benchmarks, or some: ``make bench``, or ``python -m benchmarks [NAME...] --corpus CORPUS --facts FACTS``."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from benchmarks import analysis, build, counting, growth, memory, profile, service_load, service_soak, suffix_array
from benchmarks.corpora import Setting, text_bytes
from benchmarks.measure import Report
from factcensus.indexer.system.console import parse_size

PEERS = (
    "infini-gram",
    "tantivy",
    "ahocorasick_rs",
    "tokenizers",
    "regex",
    "pyarrow",
    "numba",
    "numpy",
    "fastapi",
    "werkzeug",
)


def main() -> None:
    """Run them over a corpus and a fact table; by default over a controlled world that is made on the spot."""
    arguments = _parser().parse_args()
    report = Report(arguments.rounds)
    with tempfile.TemporaryDirectory(prefix="bench", dir=arguments.folder) as folder:
        setting = Setting(
            Path(folder),
            arguments.corpus,
            arguments.facts,
            arguments.megabytes,
            parse_size(arguments.memory) >> 20,
            arguments.memory_megabytes,
        )
        report.note(
            f"{len(setting.texts):,} documents, {text_bytes(setting.texts) / 1e6:.1f} MB of text; {report.rounds} "
            f"rounds, medians and extremes. {os.cpu_count()} processors ({_processor()}), "
            f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in PEERS) + "."
        )
        for name in arguments.names or BENCHMARKS:
            if name == "service_soak":
                service_soak.main(setting, report, arguments.minutes)
            else:
                BENCHMARKS[name](setting, report)
            if arguments.markdown:
                arguments.markdown.write_text("\n".join(report.lines), encoding="utf-8")


def _analysis(setting: Setting, report: Report) -> None:
    report.title("Analysis: text to word ids")
    written = io.StringIO()

    class Both(io.StringIO):
        def write(self, text: str) -> int:
            written.write(text)
            return sys.__stdout__.write(text) if sys.__stdout__ else 0

    with contextlib.redirect_stdout(Both()):
        analysis.main(setting.natural, report.rounds)
    report.block(written.getvalue())


def _evaluation(setting: Setting, report: Report) -> None:
    from benchmarks import evaluation  # brings torch, which nothing else here needs

    evaluation.main(setting, report)


#: Name, and what it is called with.
BENCHMARKS: dict[str, Callable[[Setting, Report], None]] = {
    "analysis": _analysis,
    "suffix_array": suffix_array.main,
    "build": build.main,
    "counting": counting.main,
    "memory": memory.main,
    "growth": growth.main,
    "profile": profile.main,
    "evaluation": _evaluation,
    "service_load": service_load.main,
    "service_soak": service_soak.main,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--corpus", nargs="+", type=Path, default=[], help="files or folders of JSON Lines or Parquet")
    parser.add_argument("--facts", nargs="+", type=Path, default=[], help="fact tables")
    parser.add_argument("--megabytes", type=float, help="take documents from all over the corpus, up to so much text")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: %(default)s)")
    parser.add_argument("--memory", default="640MiB", help="the bound that is tested (default: %(default)s)")
    parser.add_argument(
        "--memory-megabytes", type=float, default=2000, help="text that is built under it (default: %(default)s)"
    )
    parser.add_argument(
        "--minutes", type=float, default=0.5, help="for which the service is soaked (default: %(default)s)"
    )
    parser.add_argument("--folder", type=Path, help="where scratch files are written (default: the system's)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the tables there")
    return parser


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
