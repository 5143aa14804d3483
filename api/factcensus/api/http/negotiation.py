"""Content negotiation with the ``Accept`` header (RFC 9110, section 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence

from factcensus.indexer.numbers import decimal_number


def preferred(accept: str | None, offers: Sequence[str]) -> str | None:
    """Return the offer with the highest quality (the first among equals), or None if the header excludes all offers.

    A missing header accepts everything. If several ranges match an offer, the most specific one decides:
    ``text/*;q=0.1, text/csv`` accepts CSV with quality 1.
    """
    ranges = [parsed for part in (accept or "*/*").split(",") if (parsed := _parse(part))]
    qualities = {offer: _quality(offer, ranges) for offer in offers}
    best = max(offers, key=lambda offer: qualities[offer])  # the first of equals
    return best if qualities[best] > 0 else None


def media_type_of(content_type: str | None) -> str:
    """Return the media type of a ``Content-Type`` header in lower case, without parameters; empty if missing."""
    return (content_type or "").partition(";")[0].strip().lower()


def _parse(part: str) -> tuple[str, float] | None:
    media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = min(max(decimal_number(value), 0.0), 1.0)
            except ValueError:
                quality = 0.0
    return (media_range, quality) if "/" in media_range else None


def _quality(offer: str, ranges: Sequence[tuple[str, float]]) -> float:
    qualities = dict(ranges)
    for media_range in (offer, offer.partition("/")[0] + "/*", "*/*"):
        if media_range in qualities:
            return qualities[media_range]
    return 0.0
