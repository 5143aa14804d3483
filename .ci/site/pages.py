"""Pages of the site that are made from other files: README and its neighbours, and the reference of all commands."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
#: Pages of the repository outside docs/, each with its name on the site.
OUTSIDE = {
    "README.md": "home.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security-policy.md",
    "CHANGELOG.md": "changelog.md",
}
#: Public names of each module, by heading.
PUBLIC = {
    "Counting": [
        "factcensus.indexer.index.CountIndex",
        "factcensus.indexer.records.Entity",
        "factcensus.indexer.counting.scope.Scope",
        "factcensus.indexer.counting.deadline.Deadline",
    ],
    "Tables of facts": [
        "factcensus.indexer.tables.facts.read_facts",
        "factcensus.indexer.tables.counts.count_facts",
        "factcensus.indexer.tables.strata.stratify",
        "factcensus.indexer.counting.scan.scan_facts",
        "factcensus.indexer.tables.files.write_table",
    ],
    "Building": ["factcensus.indexer.building.build.build_index", "factcensus.indexer.building.build.add_to_index"],
    "Asking a service": ["factcensus.api.client.Client"],
    "Errors": ["factcensus.indexer.errors"],
}
#: A link or an image in Markdown: text, target and anchor.
_LINK = re.compile(r"(!?\[(?:[^\]\[]|\[[^\]]*\])*\])\(([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, *, config: Any) -> Files:
    """Add the generated pages; docs/index.md becomes indexing.html, because README is the first page."""
    for page in files.documentation_pages():
        if page.src_uri == "index.md":
            page.dest_uri, page.url = "indexing.html", "indexing.html"
    for name, uri in OUTSIDE.items():
        files.append(File.generated(config, uri, content=(ROOT / name).read_text(encoding="utf-8")))
        if uri == "home.md":
            home = files.get_file_from_path(uri)
            assert home is not None
            home.dest_uri, home.url = "index.html", "index.html"
    files.append(File.generated(config, "reference/command-line.md", content=_command_line()))
    files.append(File.generated(config, "reference/python.md", content=_python()))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:  # noqa: ARG001
    """Make the links of pages outside docs/ and out of docs/ valid on the site."""
    outside = {site: name for name, site in OUTSIDE.items()}
    source = outside.get(page.file.src_uri) or posixpath.join("docs", page.file.src_uri)
    return _LINK.sub(lambda found: _on_the_site(found, source, page.file.src_uri, files), markdown)


def _on_the_site(found: re.Match[str], source: str, uri: str, files: Files) -> str:
    """Return a link as it works on the site; a link to a file that the site does not have becomes its text."""
    text, target, anchor = found[1], found[2], found[3] or ""
    if "://" in target or target.startswith("mailto:"):
        return found[0]
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    site = OUTSIDE.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
    if site is None or files.get_file_from_path(site) is None:
        return f"`{path}`" if text[1:-1] in (target, path) else f"{text[1:-1]} (`{path}`)"
    return f"{text}({posixpath.relpath(site, posixpath.dirname(uri) or '.')}{anchor})"


def _command_line() -> str:
    """Return a page with the help of every command."""
    from factcensus.indexer.cli.root import build_root

    root = build_root()
    lines = ["# Command line", "", "Every command prints this text with `--help`.", ""]
    for path, command in _commands(root, ("factcensus",)):
        context = click.Context(command, info_name=" ".join(path), terminal_width=100, max_content_width=100)
        lines += [f"## {' '.join(path[1:])}", "", "```text", command.get_help(context), "```", ""]
    return "\n".join(lines)


def _commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name in command.list_commands(click.Context(command)):
        found = command.get_command(click.Context(command), name)
        assert found is not None
        yield from _commands(found, (*path, name))


def _python() -> str:
    """Return a page with the signature and docstring of every public name."""
    lines = [
        "# Python",
        "",
        "Import the names below from `factcensus.indexer`, and `Client` from `factcensus.api.client`.",
        "",
    ]
    for heading, names in PUBLIC.items():
        lines += [f"## {heading}", ""]
        for name in names:
            lines += [f"::: {name}", "    options:", "      heading_level: 3"]
            # The constructor of an index is not public: CountIndex.open is, and its base class defines it.
            lines += ["      merge_init_into_class: false", "      inherited_members: true"] * name.endswith(
                ".CountIndex"
            )
            lines.append("")
    return "\n".join(lines)
