"""Colours of the plots are distinguishable with any colour vision and contrast with the background."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from factcensus.eval.report import figures, page

Floats = npt.NDArray[np.float64]
TEMPLATE = (Path(page.__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
SCHEMES = dict(zip(("light", "dark"), re.findall(r":root \{(.*?)\}", TEMPLATE, re.DOTALL), strict=True))
#: Linear RGB as seen with one kind of cones missing: Machado, Oliveira and Fernandes (2009), severity 1.
VISIONS = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour: str) -> Floats:
    """Return the linear RGB of ``#rrggbb``."""
    value = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb: Floats) -> Floats:
    """Convert linear RGB to CIE L*a*b*."""
    xyz = XYZ @ np.clip(rgb, 0, 1) / XYZ.sum(axis=1)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one: str, other: str) -> float:
    """Return the WCAG 2 contrast of two colours."""
    low, high = sorted(float(XYZ[1] @ linear(colour)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def colours(scheme: str) -> dict[str, str]:
    return dict(re.findall(r"--(\w+): (#[0-9a-f]{3,6})", SCHEMES[scheme].replace("#fff;", "#ffffff;")))


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("names", [[f"m{n}" for n in range(1, 9)], ["ink", *(f"f{n}" for n in range(2, 6))]])
def test_methods_and_forms_are_distinguishable_with_any_colour_vision(
    names: list[str], scheme: str, vision: str
) -> None:
    """Colours are at least 20 apart in CIE L*a*b*, where about 2 is just noticeable side by side."""
    seen = {name: lab(np.asarray(VISIONS[vision]) @ linear(colours(scheme)[name])) for name in names}
    near = {(a, b): float(np.linalg.norm(seen[a] - seen[b])) for a, b in itertools.combinations(names, 2)}
    assert {pair: distance for pair, distance in near.items() if distance < 20} == {}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_lines_contrast_with_the_background(scheme: str) -> None:
    """WCAG 2 requires 3 to 1 for graphics."""
    found = colours(scheme)
    drawn = [name for name in found if re.fullmatch(r"[mf]\d|ink|muted|oracle", name)]
    assert len(drawn) == 15
    assert {
        name: contrast(found[name], found["paper"]) for name in drawn if contrast(found[name], found["paper"]) < 3
    } == {}


def test_standalone_drawing_has_the_colours_of_the_light_page() -> None:
    found = colours("light")
    for colour, variable in figures.VARIABLES.items():
        assert found[variable.removeprefix("--")] == colour.lower()
