"""Take the two pictures of README and docs/ again, with Chromium (Debian: ``apt-get install chromium``).

``python .ci/site/pictures.py page URL`` takes the answer at a URL of the service's page, and
``python .ci/site/pictures.py report demo/report.html`` the first two plots of a report.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Literal, NamedTuple

from PIL import Image
from playwright.sync_api import FloatRect, Page, sync_playwright

IMAGES = Path(__file__).parents[2] / "docs" / "images"
BOX = "(each) => { const box = each.getBoundingClientRect(); return [box.left, box.top, box.right, box.bottom]; }"


class Look(NamedTuple):
    """How a picture is taken: the window's width, pixels per point, the colour scheme, and its part of the page."""

    width: int
    scale: int
    scheme: Literal["dark", "light"]
    part: Callable[[Page], FloatRect]


def answer(page: Page) -> FloatRect:
    """Return the answer, up to the first passage."""
    return _around(page, "#answer", "section:has(> #documents) article > p:not(.hint) >> nth=0")


def forgetting(page: Page) -> FloatRect:
    """Return the first section of results, up to the second plot."""
    return _around(page, "#forgetting > h2", "#forgetting figure >> nth=1")


def _around(page: Page, first: str, last: str) -> FloatRect:
    left, top, right, _ = page.locator(first).evaluate(BOX)
    bottom = page.locator(last).evaluate(BOX)[3]
    return {"x": left - 12, "y": top - 12, "width": right - left + 24, "height": bottom - top + 24}


LOOKS = {"page": Look(1028, 1, "dark", answer), "report": Look(1000, 2, "light", forgetting)}


def take(name: str, url: str) -> Path:
    """Write one of the pictures."""
    look = LOOKS[name]
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(
            viewport={"width": look.width, "height": 3000},
            device_scale_factor=look.scale,
            color_scheme=look.scheme,
        )
        page.goto(url if "://" in url else Path(url).resolve().as_uri())
        picture = page.screenshot(clip=look.part(page))
        browser.close()
    path = IMAGES / f"{name}.png"
    Image.open(BytesIO(picture)).quantize(256).save(path, optimize=True)
    return path


if __name__ == "__main__":
    print(take(sys.argv[1], sys.argv[2]))
