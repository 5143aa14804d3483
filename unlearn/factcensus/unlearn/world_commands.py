"""The commands ``world write`` and ``world pretrain``. Progress goes to stderr."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factcensus.indexer.cli.command import argument, command, option
from factcensus.indexer.cli.options import (
    OUTPUT_FOLDER,
    PATH,
    Choice,
    Number,
    Value,
    Whole,
    complete_path,
    json_option,
)
from factcensus.indexer.numbers import decimal_number, whole_number
from factcensus.indexer.system.console import print_json
from factcensus.unlearn.progress import stderr_progress

if TYPE_CHECKING:
    from factcensus.unlearn.world.settings import PretrainSettings

seed_option = option("--seed", type=Whole(0), default=0, metavar="N", help="seed of all random choices")


class Exposures(Value):
    """Levels of exposure, such as ``1,10``, each perhaps with a share of the people, such as ``1:0.9,10:0.1``."""

    name = "levels"
    expected = "numbers of biographies such as 1,10, or with shares of the people such as 1:0.9,10:0.1"

    def read(self, text: str) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Convert a text to (levels, shares); the shares are empty if none is given."""
        parts = [each.strip().split(":") for each in text.split(",")]
        if len({len(each) for each in parts}) > 1 or max(map(len, parts)) > 2:
            raise ValueError
        levels = tuple(whole_number(each[0], 1) for each in parts)
        return levels, tuple(decimal_number(each[1]) for each in parts if len(each) > 1)


class Parameters(Value):
    """A number of parameters, such as ``20M``, ``1.4M``, ``72k`` or ``124000000``."""

    name = "parameters"
    expected = "a number of parameters such as 20M, 1.4M or 72k"

    def read(self, text: str) -> int:
        """Convert a text to a number."""
        found = re.fullmatch(r"([0-9.]+)([kMG]?)", text)
        if found is None:
            raise ValueError
        number = decimal_number(found[1]) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[found[2]]
        if not 1 <= number < 1e12:
            raise ValueError
        return round(number)


@command(
    "write",
    exclusive=[("question_copies", "questions_per_biography")],
    example="factcensus world write --out world --people 280 --seed 0\n"
    "factcensus world write --out world --people 10000 --attributes six --exposures 1,10\n"
    "factcensus index build world/corpus --out world-index",
)
@option("--out", type=OUTPUT_FOLDER, required=True, metavar="DIR", help="a folder, new or empty")
@option("--people", type=Whole(0), default=280, metavar="N", help="number of people in the corpus")
@option("--phantoms", type=Whole(0), default=48, metavar="N", help="number of people who never occur in the corpus")
@option(
    "--attributes",
    type=Choice(["three", "six"]),
    default="three",
    help="birth city, employer, university; or the six of the paper, with middle names and pronouns",
)
@option(
    "--objects",
    type=Whole(0),
    metavar="N",
    default_text="16 with three attributes, all with six",
    help="number of objects per relation",
)
@option(
    "--exposures",
    type=Exposures(),
    metavar="LEVELS",
    default_text="1,2,4,8,16,32,64",
    help="numbers of biographies per person, such as 1,10, or with shares of the people, such as 1:0.9,10:0.1",
)
@option("--question-copies", type=Whole(0), default=10, metavar="N", help="number of documents per question")
@option(
    "--questions-per-biography",
    type=Number("a number above 0", 0, float("inf")),
    metavar="N",
    help="copy questions until there are this many per biography, such as 3, instead of --question-copies",
)
@option(
    "--assignment",
    type=Choice(["balanced", "independent"]),
    default="balanced",
    help="deal objects equally to every exposure level, or draw them independently",
)
@option(
    "--wording",
    type=Choice(["distinct", "copied", "dealt"]),
    default="distinct",
    help="word all biographies of a person differently, copy one of them, or do each for half of the people of every "
    "exposure level",
)
@option(
    "--arrival",
    type=Choice(["mixed", "dealt"]),
    default="mixed",
    help="when training reads biographies: at any time (mixed), or those of half of the people of every exposure level "
    "in its first half and the others in its second half (dealt)",
)
@seed_option
@json_option
def write(
    out: Path,
    seed: int,
    as_json: bool,
    objects: int | None,
    exposures: tuple[tuple[int, ...], tuple[float, ...]] | None,
    questions_per_biography: float | None,
    **settings: Any,
) -> None:
    """Write a controlled world: corpus shards and a fact table.

    The same options give the same bytes.
    """
    from factcensus.unlearn.world.settings import WorldSettings
    from factcensus.unlearn.world.write import write_world

    if exposures is not None:
        settings |= {"exposures": exposures[0], "exposure_shares": exposures[1]}
    if objects is not None or settings["attributes"] == "six":
        settings["objects"] = objects
    folder = write_world(out, WorldSettings(**settings, questions_per_biography=questions_per_biography or 0.0), seed)
    result = {"world": str(folder), "corpus": str(folder / "corpus"), "facts": str(folder / "facts.jsonl")}
    if as_json:
        print_json(result)
    else:
        print("\n".join(f"{name:7} {path}" for name, path in result.items()))


@command(
    "pretrain",
    exclusive=[("parameters", "layers"), ("parameters", "heads"), ("parameters", "width")],
    needs={"layers": "width", "heads": "width", "width": "layers"},
    example="factcensus world pretrain world --out model --preset smoke --seed 0\n"
    "factcensus world pretrain world --out oracle --preset smoke --without forget\n"
    "factcensus world pretrain world --out model --preset gpu --architecture gpt2 --parameters 124M\n"
    "accelerate launch --num_processes 2 -m factcensus world pretrain world --out model --preset gpu",
)
@argument("world", type=PATH, metavar="WORLD", help="a folder that 'factcensus world write' wrote")
@option("--out", type=OUTPUT_FOLDER, required=True, metavar="MODEL", help="the folder of the model")
@option("--preset", type=Choice(["smoke", "demo", "gpu"]), default="smoke", help="size of the model and its training")
@option(
    "--architecture",
    type=Choice(["llama", "gpt2"]),
    default_text="llama",
    help="the class of the model",
    heading="model",
)
@option(
    "--parameters",
    type=Parameters(),
    metavar="N",
    help="choose layers, heads and width for this size; 20M, 50M, 124M and 210M are those of the paper",
    heading="model",
)
@option("--layers", type=Whole(1), metavar="N", help="number of layers", heading="model")
@option("--heads", type=Whole(1), metavar="N", default_text="width / 64", help="number of heads", heading="model")
@option("--width", type=Whole(1), metavar="N", help="hidden size", heading="model")
@option(
    "--tokenizer",
    shell_complete=complete_path,
    metavar="NAME",
    default_text="whole words of the world",
    help="a folder with a tokenizer, or its name on the Hub",
    heading="model",
)
@option("--epochs", type=Whole(1), metavar="N", help="passes over all documents", heading="training")
@option("--batch-rows", type=Whole(1), metavar="N", help="rows per step", heading="training")
@option("--row-tokens", type=Whole(2), metavar="N", help="tokens per row", heading="training")
@option(
    "--learning-rate",
    type=Number("a number from 0 to 1", 0, 1),
    metavar="RATE",
    help="the peak rate",
    heading="training",
)
@option("--device", type=Choice(["auto", "cpu", "cuda"]), help="where to train", heading="training")
@option(
    "--dtype",
    type=Choice(["float32", "bfloat16-autocast"]),
    default_text="float32",
    help="bfloat16-autocast computes in bfloat16 over float32 parameters",
    heading="training",
)
@seed_option
@option(
    "--without",
    multiple=True,
    metavar="ROLE",
    help="leave out all documents about people of this role, such as forget; may be repeated",
)
@json_option
def pretrain(  # noqa: PLR0913  # one argument per option
    world: Path,
    out: Path,
    preset: str,
    seed: int,
    without: tuple[str, ...],
    as_json: bool,
    parameters: int | None,
    layers: int | None,
    heads: int | None,
    width: int | None,
    **changes: Any,
) -> None:
    """Train a model from scratch on a world.

    Options change the settings of the preset. The same command resumes an interrupted training run.
    """
    from factcensus.unlearn.presets import PRESETS
    from factcensus.unlearn.world.pretrain import DESCRIPTION, pretrain

    given = {name: value for name, value in changes.items() if value is not None}
    settings = _sized(world, replace(PRESETS[preset].pretraining, **given), parameters, layers, heads, width)
    folder = pretrain(world, out, settings, seed, exclude_roles=without, progress=stderr_progress())
    if as_json:
        print_json(json.loads((folder / DESCRIPTION).read_text(encoding="utf-8")) | {"model": str(folder)})
    else:
        print(folder)


def _sized(
    world: Path,
    settings: PretrainSettings,
    parameters: int | None,
    layers: int | None,
    heads: int | None,
    width: int | None,
) -> PretrainSettings:
    """Return settings with the chosen sizes."""
    from factcensus.unlearn.world.pretrain import tokenizer_of
    from factcensus.unlearn.world.shape import HEAD_UNITS, shaped, with_parameters

    if parameters is not None:
        return with_parameters(settings, parameters, len(tokenizer_of(world, settings)))
    if layers is not None and width is not None:
        return shaped(settings, layers, heads or max(1, width // HEAD_UNITS), width)
    return settings
