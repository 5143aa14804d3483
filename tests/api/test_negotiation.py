"""Content negotiation with Accept headers (RFC 9110)."""

from __future__ import annotations

import pytest

from factcensus.api.http.negotiation import media_type_of, preferred

OFFERS = ["text/csv", "application/json", "text/html"]


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "text/csv"),
        ("", "text/csv"),
        ("*/*", "text/csv"),
        ("application/json", "application/json"),
        ("APPLICATION/JSON ; Q=0.3", "application/json"),
        ("application/*", "application/json"),
        ("text/*;q=0.5, application/json;q=0.4", "text/csv"),
        ("text/*;q=0.5, text/html", "text/html"),
        ("text/csv;q=0, */*", "application/json"),
        ("text/csv;q=0.1, application/json;q=0.2, text/html;q=0.3", "text/html"),
        ("text/html;q=x, application/json;q=0.1", "application/json"),
        ("*/*;q=0", None),
        ("image/png", None),
        ("nonsense", None),
    ],
)
def test_the_best_accepted_offer_is_chosen(accept: str | None, chosen: str | None) -> None:
    assert preferred(accept, OFFERS) == chosen


def test_a_media_type_is_read_without_its_parameters() -> None:
    assert media_type_of("Text/CSV; charset=utf-8") == "text/csv"
    assert media_type_of(None) == ""
