"""Random texts, corpora and entities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

#: Examples build indexes, so they may take long.
QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

# ---------------------------------------------------------------------------------------------- hard characters

#: Characters that a step of an analyzer treats specially, by reason.
HARD = {
    "combining marks": "aeoAuc\u0301\u0327\u0308\u0323\u0345\u0344\u0340\u1e69\u20e3\u034f",
    "Tibetan vowels": "a\u0f40\u0f71\u0f72\u0f73\u0f74\u0f75\u0f80\u0f81\u0301",
    "Hangul": "\u1100\u1161\u11a8\u11a7\u1160\u115f\uac00\uac01\uac1c\u3131\uffa1\ua960\ud7b0",
    "format characters": "ab\u00ad\u200b\u200c\u200d\u2060\ufeff\u0600\u06dd\u180e\u061c\u2066\U000e0001\U0001d173",
    "full and half width": "ＡａＺ１９＿－　！ｶﾞﾟﾊ￦a1",
    "compatibility": "ﬁﬃſﬅ™№㎏㍿ﷺﷲ㌀ⅣⅷªºÅK℃ŉĳ㈀㋿𝐀𝟘𝒶f",
    "numbers": "0a9½²³¹₂⁴①⒈⑩Ⅻ٣৪๓໓០၃𝟗፩㊿一〇",
    "scripts without spaces": "กำ่๑ກຳໍ໑កុំ្៛១ကို့၁ꩠ中文〇々カーャヵゞひ゛ァｱ゙゚a1+#",
    "signs": "aC1+#+#＋＃⁺₊﬩﹢﹟ .-_中",
    "case folding": "ßẞİIıiſΣσςŉǰΐΰᾳᾼᾈÅåꭰᎠაᲐᏸﬀև\u0345\u0307\u03b1\u03b9\u0130",
    "Indic vowels in two parts": "কেোোৌொொൊෝේ\u09be\u09c7\u09d7\u0bc6\u0dd9\u0dcf\u0dca\u0ddd\u094d\u0915\u0958",
    "emoji": "👩🚀\u200d❤\ufe0f🇫🇷1\u20e3👍🏽\U000e0067a",
    "default ignorable": (
        "ab中か\u0301\u00ad\u034f\u115f\u1160\u17b5\u180b\u180f\u200b\u200c\u2065\u3164\ufe0f\uffa0\ufff0\U000e0fff"
    ),
    "Arabic": (
        "\u0645\u062d\u0627\u0640\u064b\u064e\u0651\u0652\u0653\u0654\u0670\u0300\ufe77\ufcf2\ufc60\ufefb\ufdfa\u06d6a+"
    ),
    "Hebrew": (
        "\u05d9\u05e9\u05d5\u0591\u05b0\u05bc\u05bd\u05be\u05bf\u05c1\u05c4\u05c7\ufb1d"
        "\ufb1e\ufb2a\ufb2c\ufb4b\u05f3\u0301a"
    ),
    "Cyrillic stress marks": "аАеиГгкѓёќйᵸꙮ\u0301\u0341\u0300\u0306\u0308\u0323\u0483\u0488\ua66f\u00ad\u0640\ufe77a ",
    "superscripts and fractions": "aм10²³¹⁰⁺⁻⁽ⁿªº™℠🅪㆒㆖¼½⅒⅟↉⁄₂₊+#\u00ad\u0301\ufe77中",
    "spacing accents": "aα´¨¸¯˘΄΅\u0301\u0308\u1fbd\u1fee\u037a゛゜ﹰﱞﹽﳲ\u00a0\u3000\u00ad+",
    "letters used as apostrophes": "aOʹʺʻʼʽʾʿˈˉˊˋˌˍˀˮʰꞋꞌŉẚ\u0374\u0301'’+中",
    "punctuation": "aB'’ʼ`´\"“”«».,;:-–—_/\\&@*()[]{}<>|~^%$€ \t\n\r\u00a0\u2028\u0085",
    "unassigned in Unicode 14": "aé\u0301\u0378\u0897\u1c89\ua7cb\u0cf3\U0001e030\U00011f00\U00031350\U00011383",
    "not characters": "ab\ufffe\uffff\U0010ffff\ue000\ufffd\x00\x1f\x7f",
}

_HARD_CHARACTERS = sorted(set("".join(HARD.values())))


def hard_text(max_size: int = 24) -> st.SearchStrategy[str]:
    """Generate text from one of the hard alphabets, from all of them, or from all of Unicode."""
    one_alphabet = st.sampled_from(sorted(HARD)).flatmap(lambda name: st.text(HARD[name], max_size=max_size))
    return one_alphabet | st.text(_HARD_CHARACTERS, max_size=max_size) | st.text(max_size=max_size)


# ---------------------------------------------------------------------------------------------- tiny corpora


@dataclass(frozen=True)
class Alphabet:
    """Pieces of texts, and separators between them."""

    analyzer: str
    pieces: tuple[str, ...]
    separators: tuple[str, ...]


ALPHABETS = (
    Alphabet("words", ("a", "b", "c"), (" ",)),
    Alphabet("words", ("a", "b", "B", "bc", "c++", "É", "e\u0301"), (" ", ", ", "-", "’", "\n")),
    Alphabet("words", ("中", "文", "a", "か", "+"), ("", " ")),
    Alphabet("words-cased", ("a", "A", "b"), (" ", "_")),
    Alphabet("bytes", ("a", "b"), ("",)),
    Alphabet("bytes", ("a", "é", "中", " "), ("",)),
)


@dataclass(frozen=True)
class Corpus:
    """The texts and queries of one example."""

    analyzer: str
    texts: tuple[str, ...]
    sources: tuple[str | None, ...]
    shard_tokens: int | None
    entities: tuple[tuple[str, ...], ...]
    windows: tuple[int, ...]
    layout: str = "suffix-array"

    @property
    def options(self) -> dict[str, Any]:
        """The options of a build of these texts; the layout compact does not exist for bytes."""
        layout = "suffix-array" if self.analyzer == "bytes" else self.layout
        return {"analyzer": self.analyzer, "shard_tokens": self.shard_tokens, "layout": layout}


def _join(draw: st.DrawFn, alphabet: Alphabet, pieces: list[str]) -> str:
    if len(alphabet.separators) == 1:
        return alphabet.separators[0].join(pieces)
    return "".join(piece + draw(st.sampled_from(alphabet.separators)) for piece in pieces)


@st.composite
def corpora(draw: st.DrawFn, max_documents: int = 10, min_entities: int = 1, max_entities: int = 7) -> Corpus:
    """Generate a few short documents over a tiny alphabet, and entities whose forms repeat, nest and overlap."""
    alphabet = draw(st.sampled_from(ALPHABETS))
    pieces = st.sampled_from(alphabet.pieces)
    documents = draw(st.lists(st.lists(pieces, max_size=14), min_size=1, max_size=max_documents))
    texts = tuple(_join(draw, alphabet, document) for document in documents)
    sources = tuple(draw(st.sampled_from((None, "x", "y z"))) for _ in texts)
    form = st.lists(pieces, min_size=1, max_size=4).map(lambda made: alphabet.separators[0].join(made))
    meaningful = form.filter(lambda text: text.strip(" +") != "")
    entity = st.lists(meaningful, min_size=1, max_size=4).map(tuple)
    return Corpus(
        analyzer=alphabet.analyzer,
        texts=texts,
        sources=sources,
        shard_tokens=draw(st.sampled_from((None, 1, 5, 20))),
        entities=tuple(draw(st.lists(entity, min_size=min_entities, max_size=max_entities))),
        windows=tuple(sorted(draw(st.sets(st.integers(0, 6), max_size=3)))),
        layout=draw(st.sampled_from(("suffix-array", "compact"))),
    )
