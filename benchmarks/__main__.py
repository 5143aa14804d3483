"""Run all or some benchmarks: ``make bench``, or ``python -m benchmarks [NAME...] --corpus CORPUS --facts FACTS``."""

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

from benchmarks import (
    analysis,
    build,
    counting,
    growth,
    layouts,
    memory,
    profile,
    remote,
    service_load,
    service_soak,
    suffix_array,
)
from benchmarks.corpora import Setting, text_bytes
from benchmarks.measure import Report
from factcensus.indexer.numbers import parse_size

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
    """Run the benchmarks on a corpus and a fact table; by default on a controlled world made on the spot."""
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
            f"rounds, medians (minimum to maximum). {os.cpu_count()} processors ({_processor()}), "
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
    from benchmarks import evaluation  # imports torch, which no other benchmark needs

    evaluation.main(setting, report)


#: Benchmarks by name, with their arguments.
BENCHMARKS: dict[str, Callable[[Setting, Report], None]] = {
    "analysis": _analysis,
    "suffix_array": suffix_array.main,
    "build": build.main,
    "counting": counting.main,
    "memory": memory.main,
    "growth": growth.main,
    "layouts": layouts.main,
    "profile": profile.main,
    "evaluation": _evaluation,
    "remote": remote.main,
    "service_load": service_load.main,
    "service_soak": service_soak.main,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--corpus", nargs="+", type=Path, default=[], help="files or folders of JSON Lines or Parquet")
    parser.add_argument("--facts", nargs="+", type=Path, default=[], help="fact tables")
    parser.add_argument("--megabytes", type=float, help="maximum amount of text, sampled from the whole corpus")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: %(default)s)")
    parser.add_argument("--memory", default="640MiB", help="memory limit to test (default: %(default)s)")
    parser.add_argument(
        "--memory-megabytes",
        type=float,
        default=2000,
        help="amount of text to build under the limit (default: %(default)s)",
    )
    parser.add_argument("--minutes", type=float, default=0.5, help="duration of service_soak (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="folder for scratch files (default: that of the system)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the tables to FILE")
    return parser


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
