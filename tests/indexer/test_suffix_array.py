"""The suffix array, on the CPU and with PyTorch, compared with a naive sort and with infini-gram's builder."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from factcensus.indexer import CountIndex, build_index, verify_index
from factcensus.indexer.building import device_sort, suffix_array
from factcensus.indexer.building.device_sort import choose_device, sort_suffixes_on
from factcensus.indexer.building.suffix_array import byte_order_ranks, count_ranks, sort_suffixes
from factcensus.indexer.errors import InputError, MissingExtraError
from factcensus.indexer.kernels.search import first_wrong_row
from factcensus.indexer.storage import suffix_shard
from factcensus.indexer.storage.layout import write_table

from .corpora import engine_folder, make_index, write_corpus
from .infini_gram_indexing import run_indexing
from .strategies import QUICK

Ranks = npt.NDArray[np.uint32]


def naive(ranks: Sequence[int]) -> list[int]:
    """Sort the suffixes by definition; big-endian bytes have the order of their numbers and are compared fast."""
    stream = np.array(ranks, ">u4").tobytes()
    return sorted(range(len(ranks)), key=lambda i: stream[4 * i :])


def compiled(ranks: Sequence[int] | Ranks, alphabet: int | None = None, threads: int = 1) -> list[int]:
    array = np.array(ranks, np.uint32)
    alphabet = alphabet or int(array.max(initial=0)) + 1
    return sort_suffixes(array.copy(), count_ranks(array, alphabet), threads=threads).tolist()


def with_wide_keys(ranks: Sequence[int], bits: int) -> list[int]:
    """Sort like :func:`compiled`, but with ranks of many bits (whose table of starts would not fit in memory).

    The ranks are spread over the alphabet, so that the keys really have this width.
    """
    dense = np.array(ranks, np.uint32)
    starts = count_ranks(dense, int(dense.max(initial=0)) + 1)
    positions = np.empty(len(dense), np.uint32)
    suffix_array._bucket(dense, starts[:-1].copy(), positions)
    wide = ((1 << bits) - 2 - (len(starts) - 2 - dense.astype(np.int64))).astype(np.uint32)
    tied = [suffix_array._sort_chunk(wide, positions, starts, chunk, bits)[1] for chunk in suffix_array._chunks(starts)]
    groups = np.concatenate(tied)
    if len(groups):
        suffix_array._double(wide, positions, groups)
    return positions.tolist()


def on_torch(ranks: Sequence[int] | Ranks, alphabet: int | None = None, device: str = "cpu") -> list[int]:
    pytest.importorskip("torch")
    array = np.array(ranks, np.uint32)
    return sort_suffixes_on(device, array, alphabet or int(array.max(initial=0)) + 1).tolist()


def in_order(ranks: Ranks, positions: npt.NDArray[np.uint32]) -> bool:
    """Return whether many suffixes are in order, for texts on which the naive sort takes too long."""
    stream = ranks.astype(">u4").view(np.uint8)
    table = (positions.astype("<u4") * np.uint32(4)).astype("<u4")
    return first_wrong_row(stream, table, 1, 4, np.empty(len(ranks) + 1, np.uint32)) < 0


# ---------------------------------------------------------------------------------------------- texts


def fibonacci(length: int) -> list[int]:
    one, two = [0], [0, 1]
    while len(two) < length:
        one, two = two, two + one
    return two[:length]


def repeated(chance: random.Random, alphabet: int, length: int) -> list[int]:
    """Return one document repeated many times with a few changes."""
    document = [chance.randrange(alphabet) for _ in range(chance.randint(1, 80))]
    made: list[int] = []
    while len(made) < length:
        copy = document.copy()
        for _ in range(chance.randrange(3)):
            copy[chance.randrange(len(copy))] = chance.randrange(alphabet)
        made += [*copy, alphabet - 1]
    return made[:length]


KINDS: dict[str, Callable[[random.Random, int, int], list[int]]] = {
    "random": lambda chance, alphabet, n: [chance.randrange(alphabet) for _ in range(n)],
    "skewed": lambda chance, alphabet, n: [int(alphabet ** chance.random()) - 1 for _ in range(n)],
    "periodic": lambda chance, alphabet, n: (
        [chance.randrange(alphabet) for _ in range(chance.randint(1, 20))] * (n + 1)
    )[:n],
    "Fibonacci": lambda _, alphabet, n: [token % alphabet for token in fibonacci(n)],
    "repeated documents": repeated,
    "long runs": lambda chance, alphabet, n: [
        token for _ in range(n) for token in [chance.randrange(alphabet)] * chance.randint(1, 300)
    ][:n],
}


@st.composite
def texts(draw: st.DrawFn, most: int = 600) -> tuple[list[int], int]:
    """Generate a stream of ranks and the size of their alphabet."""
    alphabet = draw(st.sampled_from([1, 2, 3, 5, 16, 255, 256, 70_000]))
    n = draw(st.integers(0, most) | st.sampled_from([1, 15, 16, 17, 18, 127, 128, 129, 130]))
    kind = draw(st.sampled_from(sorted(KINDS)))
    return KINDS[kind](random.Random(draw(st.integers(0, 2**32))), alphabet, n), alphabet


def check(ranks: Sequence[int], alphabet: int) -> None:
    right = naive(ranks)
    for threads in (1, 2, 4):
        assert compiled(ranks, alphabet, threads) == right
    if ranks:
        assert with_wide_keys(ranks, 31) == right
        assert with_wide_keys(ranks, 22) == right


@settings(QUICK, max_examples=60)
@given(text=texts())
@example(text=([], 1))
@example(text=([0], 1))
@example(text=([0] * 2_000, 1))
@example(text=([0, 1] * 1_000, 2))
def test_suffixes_are_in_order(text: tuple[list[int], int]) -> None:
    check(*text)


@pytest.mark.full
@settings(QUICK, max_examples=3_000)
@given(text=texts(most=2_000))
def test_suffixes_of_very_many_texts_are_in_order(text: tuple[list[int], int]) -> None:
    check(*text)


@settings(QUICK, max_examples=30)
@given(text=texts(), chunk=st.integers(1, 40))
def test_ranges_of_buckets_of_any_size_are_in_order(text: tuple[list[int], int], chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suffix_array, "CHUNK", chunk)
        assert compiled(*text, threads=3) == naive(text[0])


#: Group sizes around the limits at which the algorithm changes its method.
BORDERS = [
    size + off
    for size in (suffix_array.TINY, suffix_array.NEARBY, suffix_array.BATCH, 2 * suffix_array.BATCH)
    for off in (-1, 0, 1)
]


@pytest.mark.parametrize("group", BORDERS)
@pytest.mark.parametrize("agree", [0, 1, 5, 15, 16, 17, 40])
def test_groups_around_every_size_limit_are_in_order(group: int, agree: int) -> None:
    """Use groups of suffixes that agree in a given number of tokens, random suffixes, and some equal copies."""
    chance = np.random.default_rng(group * 100 + agree)
    rows = np.zeros((group, agree + 4), np.uint32)
    rows[:, 0] = 1
    rows[:, 1 : agree + 1] = np.arange(2, agree + 2)
    rows[:, agree + 1 :] = chance.integers(60, 90, (group, 3))
    rows[group // 2] = rows[0]
    ranks = np.concatenate([rows.ravel(), np.zeros(3, np.uint32), rows[: group // 3].ravel()])
    for threads in (1, 2):
        positions = sort_suffixes(ranks.copy(), count_ranks(ranks, 90), threads=threads)
        assert in_order(ranks, positions)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_larger_texts_are_in_order_for_any_number_of_threads(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suffix_array, "CHUNK", 5_000)
    ranks = np.array(KINDS[kind](random.Random(1), 1_000, 60_000), np.uint32)
    one, two, four = (sort_suffixes(ranks.copy(), count_ranks(ranks, 1_000), threads=n) for n in (1, 2, 4))
    assert in_order(ranks, one)
    assert one.tobytes() == two.tobytes() == four.tobytes()


@given(
    types=st.integers(1, 70_000) | st.sampled_from([255, 256, 257, 65_535, 65_536, 65_537]),
    dtype=st.sampled_from(["<u1", "<u2", "<u4"]),
)
@settings(QUICK, max_examples=40)
def test_ranks_follow_the_byte_order_of_ids(types: int, dtype: str) -> None:
    width = np.dtype(dtype).itemsize
    types = min(types, 256**width - 1)
    ranks = byte_order_ranks(types, np.dtype(dtype))
    by_rank = np.empty(types, np.int64)
    by_rank[ranks] = np.arange(types)
    as_bytes = [int(i).to_bytes(width, "little") for i in by_rank]
    assert as_bytes == sorted(as_bytes)


def test_proof_of_order_fails_for_any_exchange() -> None:
    """The larger tests rely on this."""
    ranks = np.array(KINDS["repeated documents"](random.Random(3), 5, 300), np.uint32)
    right = sort_suffixes(ranks.copy(), count_ranks(ranks, 5))
    assert in_order(ranks, right)
    for i in range(0, 299, 7):
        wrong = right.copy()
        wrong[[i, i + 1]] = wrong[[i + 1, i]]
        assert not in_order(ranks, wrong)


# ---------------------------------------------------------------------------------------------- by PyTorch


@settings(QUICK, max_examples=15)
@given(text=texts(most=400))
@example(text=([0] * 500, 1))
@example(text=([2**31 - 2, 0, 2**31 - 2], 2**31 - 1))
def test_torch_sorts_like_the_compiled_code(text: tuple[list[int], int]) -> None:
    ranks, alphabet = text
    if ranks:
        assert on_torch(ranks, alphabet) == naive(ranks)
        assert on_torch(ranks, 2**31 - 1) == naive(ranks)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_tables_by_torch_are_the_same_bytes(kind: str) -> None:
    pytest.importorskip("torch")
    ranks = np.array(KINDS[kind](random.Random(1), 1_000, 20_000), np.uint32)
    ours = sort_suffixes(ranks.copy(), count_ranks(ranks, 1_000))
    assert sort_suffixes_on("cpu", ranks.copy(), 1_000).tobytes() == ours.tobytes()


@pytest.mark.gpu
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_tables_by_a_gpu_are_the_same_bytes(kind: str) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    ranks = np.array(KINDS[kind](random.Random(1), 50_000, 3_000_000), np.uint32)
    starts = count_ranks(ranks, 50_000)
    ours = sort_suffixes(ranks.copy(), starts, threads=4)
    assert sort_suffixes(ranks.copy(), starts, device="cuda").tobytes() == ours.tobytes()


@pytest.mark.gpu
def test_index_built_on_a_gpu_is_the_same_bytes(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    digests = []
    for device in ("cpu", "cuda"):
        with make_index(tmp_path / device, ["a b c a b " * 50] * 40, device=device) as index:
            digests.append(index.digest)
    assert digests[0] == digests[1]


class Cuda:
    """A fake PyTorch with a CUDA device and this many free bytes, for ``choose_device``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, free: int | None, tmp_path: Path) -> None:
        torch = pytest.importorskip("torch")
        (tmp_path / "nvidiactl").touch()
        monkeypatch.setattr(device_sort, "Path", lambda _: tmp_path / "nvidiactl")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: free is not None)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, free))


ENOUGH = device_sort.LEAST_TOKENS


def test_gpu_is_chosen_if_faster_and_large_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Cuda(monkeypatch, device_sort.BYTES_PER_TOKEN * ENOUGH, tmp_path)
    assert choose_device("auto", ENOUGH) == "cuda"
    assert choose_device("auto", ENOUGH - 1) == "cpu", "too small to pay"
    assert choose_device("auto", ENOUGH + 1) == "cpu", "no room"
    assert choose_device("cpu", ENOUGH) == "cpu"


def test_gpu_is_not_chosen_without_a_driver_a_device_or_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Cuda(monkeypatch, None, tmp_path)
    assert choose_device("auto", ENOUGH) == "cpu", "a driver, but no device that works"
    Cuda(monkeypatch, 1 << 50, tmp_path)
    monkeypatch.setattr(device_sort, "find_spec", lambda _: None)
    assert choose_device("auto", ENOUGH) == "cpu", "no PyTorch"
    with pytest.raises(MissingExtraError, match=r"'torch'.*factcensus\[gpu\]"):
        choose_device("cuda", ENOUGH)
    monkeypatch.setattr(device_sort, "Path", lambda _: tmp_path / "nothing")
    assert choose_device("auto", ENOUGH) == "cpu", "no driver"


@pytest.mark.parametrize("device", ["cudda", "cuda:99", "nonsense:0", "", "gpu"])
def test_missing_device_is_refused_with_the_remedy(device: str) -> None:
    pytest.importorskip("torch")
    with pytest.raises(InputError, match=f"the device '{device}' cannot be used.*use --device cpu"):
        choose_device(device, 5)


def test_missing_device_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    corpus = write_corpus(tmp_path / "c.jsonl", [{"text": "a"}])
    with pytest.raises(InputError, match="cudda"):
        build_index([corpus], tmp_path / "ix", device="cudda")
    assert [path.name for path in tmp_path.iterdir()] == ["c.jsonl"]


# ---------------------------------------------------------------------------------------------- infini-gram's builder


@pytest.fixture
def short_folder() -> Iterator[Path]:
    with engine_folder() as path:
        yield path


@pytest.mark.parametrize("kind", ["skewed", "repeated documents", "long runs", "Fibonacci"])
@pytest.mark.parametrize("dtype", ["u8", "u16"])
def test_table_equals_that_of_the_infini_gram_builder(kind: str, dtype: str, short_folder: Path) -> None:
    pytest.importorskip("infini_gram.engine", reason="infini-gram has no wheel for this platform")
    width = np.dtype(dtype.replace("u8", "u1").replace("u16", "<u2"))
    types = 250 if dtype == "u8" else 40_000
    n = 30_000
    ids = np.array(KINDS[kind](random.Random(4), types, n), width)
    cuts = np.unique(np.random.default_rng(4).integers(1, n, 60))
    separator = np.iinfo(width).max
    stream = np.insert(ids, [0, *cuts], separator)
    offsets = np.flatnonzero(stream == separator).astype("<u8") * np.uint64(width.itemsize)
    for folder in ("data", "theirs"):
        (short_folder / folder).mkdir()
    (short_folder / "data" / "c.jsonl").write_text('{"text": ""}\n')
    stream.tofile(short_folder / "theirs" / "tokenized.0")
    offsets.tofile(short_folder / "theirs" / "offset.0")
    run_indexing(short_folder / "data", short_folder / "theirs", "--token_dtype", dtype)
    rank_of = np.append(byte_order_ranks(types, width), types).astype(np.uint32)
    ranks = rank_of[np.where(stream == separator, types, stream.astype(np.int64))]
    positions = sort_suffixes(ranks.copy(), count_ranks(ranks, types + 1), threads=2)
    write_table(short_folder / "ours", positions, width.itemsize)
    assert (short_folder / "ours").read_bytes() == (short_folder / "theirs" / "table.0").read_bytes()


# ---------------------------------------------------------------------------------------------- cost


def rounds_of(ranks: Ranks, alphabet: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return the number of suffixes visited by all rounds of doubling of one sort."""
    looked_at = 0
    double_tiny, fill_ranks = suffix_array._double_tiny, suffix_array._fill_ranks

    def counted_tiny(rank: Any, positions: Any, groups: Any, at: int, *rest: Any) -> int:
        nonlocal looked_at
        until: int = double_tiny(rank, positions, groups, at, *rest)
        done = groups[at:until].astype(np.int64)
        looked_at += int((done[:, 1] - done[:, 0]).sum())
        return until

    def counted_fill(rank: Any, positions: Any, low: int, high: int, *rest: Any) -> None:
        nonlocal looked_at
        looked_at += high - low
        fill_ranks(rank, positions, low, high, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(suffix_array, "_double_tiny", counted_tiny)
        patch.setattr(suffix_array, "_fill_ranks", counted_fill)
        positions = sort_suffixes(ranks.copy(), count_ranks(ranks, alphabet))
    assert in_order(ranks, positions)
    return looked_at


HARD: dict[str, Callable[[int], Ranks]] = {
    "one token": lambda n: np.zeros(n, np.uint32),
    "one document forty times": lambda n: np.tile(
        np.append(np.random.default_rng(1).integers(0, 5_000, n // 40), 5_000), 40
    ).astype(np.uint32),
    "two tokens by turns": lambda n: np.tile(np.array([0, 1], np.uint32), n // 2),
    "Fibonacci": lambda n: np.array(fibonacci(n), np.uint32),
}


@pytest.mark.parametrize("name", HARD)
def test_work_on_repeats_grows_almost_linearly(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a text of four times the length, doubling visits at most six times as many suffixes."""
    small, large = (rounds_of(HARD[name](n), 5_001, monkeypatch) for n in (50_000, 200_000))
    assert large <= 6 * max(small, 50_000), (small, large)


@pytest.mark.full
@pytest.mark.parametrize("name", HARD)
def test_work_on_long_repeats_is_a_few_visits_per_token(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts: one token a million times, and forty copies of a document of 50,000 tokens."""
    n = 2_000_000 if "forty" in name else 1_000_000
    assert rounds_of(HARD[name](n), 5_001, monkeypatch) <= 20 * n


@pytest.mark.parametrize("name", ["one token", "one document forty times"])
def test_memory_stays_within_the_planned_limit(name: str) -> None:
    """Measures all arrays of a sort with tracemalloc, plus the ranks."""
    import tracemalloc

    from factcensus.indexer.building.settings import BYTES_PER_TOKEN

    ranks = HARD[name](400_000)
    starts = count_ranks(ranks, 5_001)
    sort_suffixes(ranks[:1_000].copy(), count_ranks(ranks[:1_000], 5_001))
    work = ranks.copy()
    tracemalloc.start()
    try:
        sort_suffixes(work, starts)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak + work.nbytes <= BYTES_PER_TOKEN * len(ranks) + (2 << 20)


@pytest.mark.parametrize(
    "texts",
    [["a " * 20_000], [""], ["", "a", ""], ["a b"], ["a"] * 300, [" ".join(map(str, range(900)))]],
    ids=["one token", "empty", "two empty", "one document", "equal documents", "all different"],
)
@pytest.mark.parametrize("shard_tokens", [None, 1])
def test_odd_shards_are_built_and_verified_in_full(texts: list[str], shard_tokens: int | None, tmp_path: Path) -> None:
    shard_tokens = shard_tokens if len(texts) < 100 else None
    with make_index(tmp_path, texts, shard_tokens=shard_tokens) as index:
        assert len(index.shards) == (len(texts) if shard_tokens else 1)
        assert index.info().tokens == sum(len(text.split()) for text in texts)
    verify_index(tmp_path / "ix", full=True)
    with CountIndex.open(tmp_path / "ix") as index:
        assert index.count("a").occurrences == sum(text.split().count("a") for text in texts)


def test_concurrent_sorts_do_not_disturb_each_other() -> None:
    streams = [np.array(KINDS["skewed"](random.Random(i), 50, 5_000), np.uint32) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        sorted_at_once = list(pool.map(lambda r: sort_suffixes(r.copy(), count_ranks(r, 50), threads=2), streams))
    for ranks, positions in zip(streams, sorted_at_once, strict=True):
        assert in_order(ranks, positions)


def test_table_with_wide_row_numbers_is_verified_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards with more than 2^32 tokens, as built by infini-gram, need 64-bit row numbers."""
    with make_index(tmp_path, ["a b a", "b a a b", ""]) as index:
        (opened,) = index.shards
        monkeypatch.setattr(suffix_shard, "MOST_NARROW_ROWS", 0)
        assert opened.first_wrong_row() is None
        opened.table = opened.table.copy()
        opened.table[[2, 3]] = opened.table[[3, 2]]
        wide = opened.first_wrong_row()
        monkeypatch.undo()
        assert wide is not None
        assert wide == opened.first_wrong_row()
