"""The token sequences of a name in an ``hf:`` index, compared with a count of whole words in the text."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from factcensus.indexer.analyzers.huggingface import HuggingFaceAnalyzer, Variant

from .strategies import QUICK

NAMES = ("Paris", "Docker", "New York", "東京", "Île-de-France")
#: Texts before a name after which variants must find it.
COVERED = ("", "\n", " ", '"', "'", "“", "‘", "(", "[", ' "', " '", " “", " ‘", " (", " [")
#: Texts before a name after which variants may miss it.
OTHER = ("-", "/", "*", " #", "@", "»")
WORDS = ("we", "went", "to", "the", "capital", "and", "said", "of", "a", "dock", "par", "is")


def sentences(before: Sequence[str], number: int = 300) -> list[str]:
    """Return texts with names after all kinds of characters, followed by the closing character or by nothing."""
    chance = random.Random(7)
    partner = {'"': '"', "'": "'", "“": "”", "‘": "’", "(": ")", "[": "]"}
    made = []
    for _ in range(number):
        sign, name = chance.choice(before), chance.choice(NAMES)
        behind = partner.get(sign[-1:], "") + chance.choice([" ", ". ", ", ", "\n"])
        lead = " ".join(chance.choices(WORDS, k=3)) if sign and not sign[0].isalnum() else ""
        made.append(lead + sign + name + behind + " ".join(chance.choices(WORDS, k=2)))
    return made


def byte_level(texts: Sequence[str], *, joins_signs: bool = False) -> Tokenizer:
    """Train a tokenizer like GPT-2's, or like newer ones that merge a character with the following letters."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if joins_signs:
        pattern = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(pattern, "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def sentence_piece(texts: Sequence[str], *, joins_signs: bool = False) -> Tokenizer:
    """Train a tokenizer like SentencePiece: "▁" for spaces and before texts; pieces rarely mix letters and signs."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    spaces = pre_tokenizers.Metaspace(prepend_scheme="always")
    one_kind = pre_tokenizers.Split(Regex(r"▁?(\w+|[^\w▁])"), "isolated")
    tokenizer.pre_tokenizer = spaces if joins_signs else pre_tokenizers.Sequence([spaces, one_kind])
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.pre_tokenizer = spaces
    return tokenizer


def llama(texts: Sequence[str]) -> Tokenizer:
    """Train a tokenizer like Llama 2's: a normalizer writes "▁", and the text is not split before merging."""
    tokenizer = sentence_piece(texts)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = None
    return tokenizer


KINDS: dict[str, Callable[[Sequence[str]], Tokenizer]] = {
    "byte-level": byte_level,
    "byte-level that joins signs": lambda texts: byte_level(texts, joins_signs=True),
    "SentencePiece": sentence_piece,
    "llama": llama,
}


@pytest.fixture(scope="module", params=KINDS)
def analyzer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> HuggingFaceAnalyzer:
    tokenizer = KINDS[request.param](sentences([*COVERED, *OTHER]))
    path = tmp_path_factory.mktemp("tokenizers") / f"{request.param}.json"
    tokenizer.save(str(path))
    return HuggingFaceAnalyzer(str(path))


def found_at(analyzer: HuggingFaceAnalyzer, text: str, variants: Sequence[Variant]) -> Counter[int]:
    """Return the character positions at which occurrences of all variants end in a text."""
    encoding = analyzer._tokenizer.encode(text, add_special_tokens=False)
    ends: Counter[int] = Counter()
    for variant in variants:
        size = len(variant.ids)
        for start in range(len(encoding) - size + 1):
            if tuple(encoding.ids[start : start + size]) == variant.ids:
                ends[encoding.offsets[start + size - 1][1]] += 1
    return ends


def whole_words(text: str, name: str) -> set[int]:
    """Return the character positions at which a name ends as a whole word."""
    return {match.end() for match in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", text)}


@pytest.mark.parametrize("name", NAMES)
def test_mentions_after_the_promised_characters_are_all_found_once(analyzer: HuggingFaceAnalyzer, name: str) -> None:
    variants = analyzer.variants(name)
    for text in sentences(COVERED):
        found = found_at(analyzer, text, variants)
        assert whole_words(text, name) <= found.keys(), text
        assert set(found.values()) <= {1}, text


@pytest.mark.parametrize("name", NAMES)
def test_variants_find_more_than_the_name_as_written(analyzer: HuggingFaceAnalyzer, name: str) -> None:
    """Compares with counts without variants, and with the method of infini-gram's service (" X")."""
    texts = sentences(COVERED)
    mentions = sum(len(whole_words(text, name)) for text in texts)
    every = analyzer.variants(name)
    recalls = {}
    for what, variants in [("all", every), *((each.form, [each]) for each in every)]:
        hits = sum(len(found_at(analyzer, text, variants).keys() & whole_words(text, name)) for text in texts)
        recalls[what] = hits / mentions
    print(analyzer.name, name, {what: f"{recall:.0%}" for what, recall in recalls.items()})
    assert recalls["all"] == 1
    assert all(recall < 1 for what, recall in recalls.items() if what != "all") or len(every) == 1


@QUICK
@given(pieces=st.lists(st.sampled_from([*NAMES, *WORDS, *COVERED, *OTHER, "s", "er", "ian", "file"]), max_size=14))
def test_no_mention_is_found_twice(analyzer: HuggingFaceAnalyzer, pieces: list[str]) -> None:
    """So the occurrences of variants can be added."""
    text = "".join(pieces)
    for name in NAMES:
        assert set(found_at(analyzer, text, analyzer.variants(name)).values()) <= {1}


def test_characters_merged_with_the_end_of_a_name_hide_it(tmp_path: Path) -> None:
    """These mentions are missed, as documented, but more are found than without variants."""
    texts = sentences(COVERED)
    sentence_piece(texts, joins_signs=True).save(str(tmp_path / "t.json"))
    analyzer = HuggingFaceAnalyzer(str(tmp_path / "t.json"))
    variants = analyzer.variants("Paris")
    mentions = sum(len(whole_words(text, "Paris")) for text in texts)
    every, as_written = (
        sum(len(found_at(analyzer, text, each).keys() & whole_words(text, "Paris")) for text in texts)
        for each in (variants, variants[:1])
    )
    assert as_written < every < mentions


def test_a_sequence_may_end_inside_a_longer_word(tmp_path: Path) -> None:
    """These are overcounted, as documented, because token sequences are not whole words."""
    byte_level(["Docker Docker Docker files file file"]).save(str(tmp_path / "t.json"))
    analyzer = HuggingFaceAnalyzer(str(tmp_path / "t.json"))
    text = "a Dockerfile and Docker"
    assert whole_words(text, "Docker") == {23}
    assert found_at(analyzer, text, analyzer.variants("Docker")).keys() == {8, 23}


def test_variants_name_their_context_and_exclude_unmerged_characters(tmp_path: Path) -> None:
    for joins_signs, texts in [(False, ['"Docker( Docker']), (True, ['"Docker(Docker Docker'] * 2)]:
        byte_level(texts, joins_signs=joins_signs).save(str(tmp_path / "t.json"))
        analyzer = HuggingFaceAnalyzer(str(tmp_path / "t.json"))
        variants = {variant.form: variant for variant in analyzer.variants("Docker")}
        assert variants["as written"].text == "Docker"
        assert variants["as written"].ids == tuple(analyzer.ids("Docker"))
        assert variants["after a space"].ids == tuple(analyzer.ids(" Docker"))
        if joins_signs:
            assert analyzer.token(variants['after "'].ids[0]).startswith('"')
            assert variants["after ("].text == "(Docker"
        else:
            assert variants.keys() == {"as written", "after a space"}


def test_separate_space_token_is_not_part_of_a_name(tmp_path: Path) -> None:
    """A SentencePiece tokenizer without a piece "▁東" puts "▁" before it only at the start of a text."""
    tokenizer = sentence_piece(["we went to Paris", "x東京x東京"])
    tokenizer.save(str(tmp_path / "t.json"))
    analyzer = HuggingFaceAnalyzer(str(tmp_path / "t.json"))
    assert analyzer.tokens("東京")[0] == "▁"
    (variant,) = analyzer.variants("東京")
    assert [analyzer.token(i) for i in variant.ids] == analyzer.tokens("東京")[1:]


def test_variants_are_distinct_and_begin_with_the_name_as_written(analyzer: HuggingFaceAnalyzer) -> None:
    for name in NAMES:
        variants = analyzer.variants(name)
        assert variants[0].form == "as written"
        assert len({variant.ids for variant in variants}) == len(variants)
        assert analyzer.variants(f"  {name}\n") == variants


@pytest.mark.parametrize("nothing", ["", " ", "\n\t"])
def test_blank_name_has_no_variants(analyzer: HuggingFaceAnalyzer, nothing: str) -> None:
    assert analyzer.variants(nothing) == []
