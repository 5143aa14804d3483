"""Code that was compiled ahead of time gives the same numbers as Numba, and is never run where it does not fit."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from factcensus.indexer.environment import NATIVE, NATIVE_FOLDER
from factcensus.indexer.kernels import ahead, native
from factcensus.indexer.system.processes import WorkerError

from .corpora import make_index

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="compiling ahead of time needs a C compiler")

#: Prints the numbers of an index, and whether Numba was needed for them.
PROGRAM = """
import json, sys
from factcensus.indexer import CountIndex
with CountIndex.open(sys.argv[1]) as index:
    found = [index.count(text).documents for text in ("a b", "b", "c d e", "zzz")]
print(json.dumps([found, "numba" in sys.modules]))
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the functions that ``count`` needs."""
    folder = tmp_path_factory.mktemp("native")
    with pytest.MonkeyPatch.context() as patch:
        keep_only({"count_ngram", "_find_words", "ascends", "block_documents"}, folder, patch)
        ahead.compile_all(folder)
    return folder


def variants_in_the_wheel() -> Iterator[tuple[str, dict[str, Any]]]:
    yield from json.loads(ahead.VARIANTS.read_text(encoding="utf-8")).items()


@pytest.fixture
def load(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], bool]]:
    """Load the extension module and tell whether it is used."""
    monkeypatch.setattr(native, "FOLDER", compiled)
    monkeypatch.delenv(NATIVE, raising=False)
    yield lambda: native._load.__wrapped__() is not None
    native._load.cache_clear()


def test_variants_that_do_not_fit_their_function_are_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    search = "factcensus.indexer.kernels.search"
    variants = {
        f"{search}:block_documents": {"<i81,i": None, "<i81": None, "Gone(,<i81,),i": None},
        f"{search}:gone": {"<i81": None},
        "factcensus.indexer.gone:block_documents": {"<i81,i": None},
        f"{search}:BLOCK": {"i": None},
        f"{search}:documents_of": {"Rows(,<u41,i,i,<i81,<i41,),<i81": None},  # a field is missing
    }
    monkeypatch.setattr(ahead, "VARIANTS", tmp_path / "variants.json")
    (tmp_path / "variants.json").write_text(json.dumps(variants))
    with pytest.warns(UserWarning, match="so the wheel has no code for them") as warned:
        ahead.compile_all(tmp_path, jobs=2)
    stored = json.loads((tmp_path / native.ABOUT).read_text())["exports"]
    assert {name: list(found) for name, found in stored.items()} == {f"{search}:block_documents": ["<i81,i"]}
    told = [str(each.message).split(" of variants.json")[0] for each in warned]
    assert told == [
        f"{name} does not accept the types {key}"
        for name, found in variants.items()
        for key in found
        if (name, key) != (f"{search}:block_documents", "<i81,i")
    ]


def keep_only(names: set[str], folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Reduce the variants to those of some functions."""
    some = {name: variants for name, variants in variants_in_the_wheel() if name.partition(":")[2] in names}
    patch.setattr(ahead, "VARIANTS", folder / "some.json")
    (folder / "some.json").write_text(json.dumps(some))


def test_several_processes_compile_what_the_variants_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    keep_only({"count_ngram", "block_documents"}, tmp_path, monkeypatch)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    ahead._fill_cache(2)
    stored = {path.name.partition("-")[0] for path in tmp_path.rglob("*.nbc")}
    assert stored >= {"ngrams.count_ngram", "search.find", "search.block_documents"}


def test_a_process_that_is_killed_costs_only_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def killed(*_: Any, **__: Any) -> Iterator[None]:
        raise WorkerError(0, -9)
        yield

    keep_only({"block_documents"}, tmp_path, monkeypatch)
    monkeypatch.setattr(ahead, "run_tasks", killed)
    ahead.compile_all(tmp_path, jobs=2)
    (stored,) = json.loads((tmp_path / native.ABOUT).read_text())["exports"]
    assert stored.endswith(":block_documents")


def test_counts_need_no_numba_and_are_equal(compiled: Path, tmp_path: Path) -> None:
    make_index(tmp_path, ["a b c", "b a b", "c d e"]).close()

    def ran(**environment: str) -> list[Any]:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path / "ix")],
            capture_output=True,
            text=True,
            env=os.environ | environment,
            check=True,
        )
        return list(json.loads(done.stdout))

    assert ran(**{NATIVE_FOLDER: str(compiled)}) == [[2, 2, 1, 0], False]
    assert ran(**{NATIVE: "0"}) == [[2, 2, 1, 0], True]


def test_compiled_functions_that_python_calls_have_variants() -> None:
    """Otherwise the workload that lists the variants lacks a case, and the wheel has no code for it."""
    trees = modules_of_all_parts()
    compiled = compiled_functions(trees)
    called = set()
    for module, tree in trees.items():
        names = {name: where for where, name in compiled if where == module}
        names |= {
            each.name: node.module
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module
            for each in node.names
            if (node.module, each.name) in compiled
        }
        called |= {f"{names[name]}:{name}" for name in calls(tree) if name in names}
    assert len(called) > 70
    assert "factcensus.indexer.kernels.linking:link" in called, "called in another part"
    assert called - dict(variants_in_the_wheel()).keys() == set()


def test_every_compiled_function_is_in_the_indexer() -> None:
    """A wheel compiles, and compares with its digests, only modules of the indexer."""
    names = {f"factcensus/indexer/{source}" for source in native.sources()}
    compiled = {f"{module.replace('.', '/')}.py" for module, _ in compiled_functions(modules_of_all_parts())}
    assert len(compiled) > 30
    assert compiled - names == set()


def modules_of_all_parts() -> dict[str, ast.Module]:
    root = Path(__file__).parents[2]
    return {
        ".".join(path.relative_to(root / part).with_suffix("").parts): ast.parse(path.read_text(encoding="utf-8"))
        for part in ("indexer", "api", "unlearn", "eval")
        for path in (root / part / "factcensus").rglob("*.py")
    }


def compiled_functions(trees: dict[str, ast.Module]) -> set[tuple[str, str]]:
    """Return the module and name of every compiled function."""
    return {
        (module, each.name)
        for module, tree in trees.items()
        for each in ast.walk(tree)
        if isinstance(each, ast.FunctionDef) and is_compiled(each)
    }


def is_compiled(node: ast.AST) -> bool:
    decorators = getattr(node, "decorator_list", [])
    return any(isinstance(each, ast.Call) and ast.unparse(each.func) == "compiled" for each in decorators)


def calls(node: ast.AST) -> Iterator[str]:
    """Yield the names of functions that are called outside of compiled functions."""
    if is_compiled(node):
        return
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        yield node.func.id
    for child in ast.iter_child_nodes(node):
        yield from calls(child)


def test_code_for_this_processor_and_these_sources_is_used(load: Callable[[], bool]) -> None:
    assert load()


def test_a_processor_without_the_instructions_gets_numba(
    load: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    features = native.processor_features()
    monkeypatch.setattr(native, "processor_features", lambda: features - {"avx2"})
    assert not load()


def test_code_of_other_sources_is_not_used(load: Callable[[], bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "digests", lambda names: dict.fromkeys(names, "other"))
    assert not load()


def test_a_damaged_extension_module_is_not_used(
    compiled: Path, load: Callable[[], bool], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for file in compiled.iterdir():
        shutil.copy(file, tmp_path)
    (damaged,) = tmp_path.glob("_native.*")
    damaged.write_bytes(damaged.read_bytes()[:5000])
    monkeypatch.setattr(native, "FOLDER", tmp_path)
    assert not load()


def test_numba_can_be_chosen(load: Callable[[], bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NATIVE, "0")
    assert not load()


def test_different_argument_types_have_different_keys() -> None:
    values = np.arange(6, dtype=np.int64).reshape(2, 3)
    arguments = [
        values,
        values.astype(np.int32),
        values.astype(">i8"),
        values[0],
        values[:, 1],
        values.T,
        1,
        1.0,
        True,
        np.uint64(1),
        None,
        "a",
        (values,),
    ]
    keys = [native.flatten((each,), []) for each in arguments]
    assert len(set(keys)) == len(keys)
    assert native.flatten((1,), []) == native.flatten((np.int64(1),), [])
