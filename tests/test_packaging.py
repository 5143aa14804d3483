"""What users download: the wheel, the source archive and the documentation site."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urldefrag

import click
import markdown
import pytest
from build.util import project_wheel_metadata

from factcensus import indexer
from factcensus.api import client
from factcensus.indexer.cli.root import build_root

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
#: Addresses that a browser loads by itself, unlike links.
LOADED = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)=["']?(https?://[^"'\s>]+)""")
REFERENCE = re.compile(r"""\b(?:src|href)=["']?([^"'\s>]+)""")


def run(*command: str | Path, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"} | environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    # Not with --quiet: then MkDocs drops warnings before it counts them, and --strict has no effect.
    run("mkdocs", "build", "--strict", "--config-file", ".ci/site/mkdocs.yml", "--site-dir", folder)
    return folder


def test_every_page_of_the_docs_is_on_the_site(site: Path) -> None:
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")} - {"index"}
    others = {"index", "indexing", "changelog", "service-settings"}
    assert pages | others <= {page.stem for page in site.glob("*.html")}


def test_links_of_the_site_lead_to_pages_and_headings(site: Path) -> None:
    broken = [link for page in site.rglob("*.html") if page.name != "404.html" for link in broken_links(page)]
    assert not broken


def broken_links(page: Path) -> Iterator[str]:
    for link in REFERENCE.findall(page.read_text(encoding="utf-8")):
        target, anchor = urldefrag(unquote(link))
        if re.match(r"[a-z]+:", target):
            continue
        file = (page.parent / target).resolve() if target else page
        if file.is_dir():
            file /= "index.html"
        if not file.exists() or (anchor and not anchor.startswith("__") and not has_id(file, anchor)):
            yield f"{page.name}: {link}"


def has_id(page: Path, anchor: str) -> bool:
    return re.search(rf"""\bid=["']?{re.escape(anchor)}["'\s>]""", page.read_text(encoding="utf-8")) is not None


def test_the_site_loads_nothing_from_other_hosts(site: Path) -> None:
    assert not {url for page in site.rglob("*.html") for url in LOADED.findall(page.read_text(encoding="utf-8"))}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    """Serve the site on loopback, as ``python3 -m http.server`` does."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_search_finds_a_page_without_other_hosts(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.set_default_timeout(120_000)
    page.goto(address)
    page.locator(".md-search-result__meta", has_text="Type to start searching").wait_for(state="attached")
    page.get_by_role("textbox", name="Search").press_sequentially("window of tokens")
    page.locator(".md-search-result__link[href*='counts.html']").first.click()
    page.wait_for_url("**/counts.html*")
    assert page.locator("h1").inner_text().startswith("Definitions of the counts")
    assert not [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    page.close()


def test_the_reference_has_every_command(site: Path) -> None:
    page = (site / "reference" / "command-line.html").read_text(encoding="utf-8")
    missing = [words for words in commands_of(build_root()) if f'id="{"-".join(words)}"' not in page]
    assert not missing


def test_the_reference_has_every_query_of_an_index(site: Path) -> None:
    page = (site / "reference" / "python.html").read_text(encoding="utf-8")
    described = {name.rpartition(".")[2] for name in re.findall(r'\bid="?(factcensus\.indexer[\w.]+)', page)}
    queries = {name for name in vars(client.Client) if not name.startswith("_") and hasattr(indexer.CountIndex, name)}
    assert queries >= {"count", "cooccurrence", "trace", "complete"}
    assert queries | {"find_documents"} <= described


def commands_of(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if not isinstance(command, click.Group):
        yield words
        return
    for name in command.list_commands(click.Context(command)):
        found = command.get_command(click.Context(command), name)
        assert found is not None
        yield from commands_of(found, (*words, name))


def test_the_reference_has_every_public_name_with_its_docstring(site: Path) -> None:
    page = (site / "reference" / "python.html").read_text(encoding="utf-8")
    ids = set(re.findall(r'id="(factcensus\.[\w.]+)"', page))
    names = {id.rpartition(".")[2] for id in ids}
    assert not {*indexer.__all__, *client.__all__} - names
    assert any(id.endswith("CountIndex.open") for id in ids)
    assert "&gt;&gt;&gt;" in page, "examples are code"
    assert ":func:" not in page


def test_the_reference_has_every_route_and_type(site: Path) -> None:
    page = (site / "reference" / "routes.html").read_text(encoding="utf-8")
    document = json.loads((ROOT / "api" / "openapi.json").read_text(encoding="utf-8"))
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"<code>{method.upper()} {path}</code>" in page, (method, path)
    for name in document["components"]["schemas"]:
        assert has_id(site / "reference" / "routes.html", name.lower()), name


@pytest.mark.parametrize(
    ("pattern", "schema"),
    [
        (".github/workflows/*.yml", "vendor.github-workflows"),
        (".github/workflows/*.yml", "custom.github-workflows-require-timeout"),
        (".github/ISSUE_TEMPLATE/*[!g].yml", "vendor.github-issue-forms"),
        (".github/ISSUE_TEMPLATE/config.yml", "vendor.github-issue-config"),
        ("CITATION.cff", "vendor.citation-file-format"),
    ],
)
def test_files_for_the_code_host_follow_their_schemas(pattern: str, schema: str) -> None:
    files = sorted(ROOT.glob(pattern))
    assert files
    run("check_jsonschema", "--builtin-schema", schema, *files)


def test_the_readme_on_the_package_index_has_no_broken_link_or_image() -> None:
    metadata = project_wheel_metadata(ROOT, isolated=False)
    assert metadata["Description-Content-Type"] == "text/markdown"
    readme = metadata["Description"]
    page = markdown.markdown(readme, extensions=["fenced_code", "tables"])
    assert REFERENCE.findall(page) == ["https://arxiv.org/abs/2504.05058"], "no link to a file, and no image"
    source = (ROOT / "README.md").read_text(encoding="utf-8")
    linked = re.findall(r"(?<!!)\[[^\]]+\]\((?!https:)([^)#]+)[^)]*\)", source)
    assert len(linked) > 20
    assert not [name for name in linked if f"`{name}`" not in readme or not (ROOT / name).is_file()]


#: Tests in one process, which builds the archives once.
shares_archives = pytest.mark.xdist_group("archives")

#: Builds an index and counts with the code in PYTHONPATH; prints where that code is, and whether Numba was needed.
PROGRAM = """
import sys
from factcensus.indexer import cli
index = sys.argv[1]
for command in (["index", "build", "corpus", "--out", index], ["count", index, "b c"]):
    sys.argv[1:] = command
    assert not cli.main()
print(cli.__file__, "numba" in sys.modules)
"""
#: Does everything that users do with compiled code, with the code in PYTHONPATH, and prints the same.
WORKLOAD = """
import pathlib, sys
from tests.indexer import kernel_workload
from factcensus.indexer import cli
kernel_workload.run(pathlib.Path(sys.argv[1]))
print(cli.__file__, "numba" in sys.modules)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the source archive, and from it the wheel, which takes some CPU minutes for the compiled code."""
    folder = tmp_path_factory.mktemp("dist")
    run("build", "--no-isolation", "--outdir", folder, ROOT)
    return folder


class Installed:
    """An installation in a folder, without the dependencies, which the tests have, too."""

    def __init__(self, package: Path, folder: Path, **environment: str) -> None:
        self.code, self.folder = folder / "code", folder
        run("pip", "install", "--no-deps", "--no-build-isolation", "--target", self.code, package, **environment)
        (folder / "corpus").mkdir()
        (folder / "corpus" / "a.jsonl").write_text('{"text": "a b c"}\n{"text": "b c b c"}\n', encoding="utf-8")
        self.environment = {"PYTHONPATH": str(self.code), "NUMBA_CACHE_DIR": str(folder / "cache")} | environment

    def count(self, index: str) -> tuple[list[str], str]:
        """Return the lines that the program printed, and what it wrote to stderr."""
        return self.run(PROGRAM, index, self.folder)

    def run(self, program: str, argument: str | Path, folder: Path) -> tuple[list[str], str]:
        """Run a program with this installation; return the same as :meth:`count`."""
        command = [sys.executable, "-c", program, str(argument)]
        environment = os.environ | self.environment
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines(), done.stderr


@pytest.mark.full
@shares_archives
def test_the_package_index_accepts_the_wheel_and_the_source_archive(built: Path, tmp_path: Path) -> None:
    run("twine", "check", "--strict", *built.iterdir())
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"factcensus/indexer/py.typed", "factcensus/api/templates/page.html"} <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]
    assert "factcensus/__init__.py" not in names, "the namespace belongs to all four parts"
    if wheel.stem.endswith("-any"):
        return
    programs = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    run("auditwheel", "repair", "--wheel-dir", tmp_path, wheel, PATH=programs)
    (renamed,) = tmp_path.iterdir()
    assert "-manylinux_" in renamed.name
    assert set(zipfile.ZipFile(renamed).namelist()) >= set(names), "with the compiled code"


@pytest.mark.full
@shares_archives
@pytest.mark.skipif(not shutil.which("cc"), reason="compiling ahead of time needs a C compiler")
def test_an_installed_wheel_compiles_nothing(built: Path, tmp_path: Path) -> None:
    """Neither for the first count nor for anything else that users do with compiled code."""
    (wheel,) = built.glob("*.whl")
    installed = Installed(wheel, tmp_path)
    printed, told = installed.count("index")
    assert printed[-1] == f"{installed.code / 'factcensus/indexer/cli/__init__.py'} False"
    assert printed[-2].split() == ["all", "3", "2"], "occurrences and documents"
    assert "compiling" not in told
    (tmp_path / "work").mkdir()
    printed, told = installed.run(WORKLOAD, tmp_path / "work", ROOT)
    assert printed[-1] == f"{installed.code / 'factcensus/indexer/cli/__init__.py'} False"
    assert "compiling" not in told


@pytest.mark.full
@shares_archives
def test_a_source_archive_without_a_c_compiler_compiles_once_and_says_so(built: Path, tmp_path: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    installed = Installed(archive, tmp_path, PATH=str(BIN))
    assert not shutil.which("cc", path=installed.environment["PATH"])
    printed, told = installed.count("first")
    assert printed[-2].split() == ["all", "3", "2"], "occurrences and documents"
    assert printed[-1] == f"{installed.code / 'factcensus/indexer/cli/__init__.py'} True"
    assert "compiling counting code for this machine; later commands reuse it" in told
    assert "compiling" not in installed.count("second")[1]
