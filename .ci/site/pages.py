"""Pages of the site that are made from other files: README and its neighbours, and the reference of all commands."""

from __future__ import annotations

import json
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
    "api/README.md": "service-settings.md",
}
#: Public names of each module, by heading.
PUBLIC = {
    "Counting": [
        "factcensus.indexer.index.CountIndex",
        "factcensus.indexer.counting.passages.find_documents",
        "factcensus.indexer.counting.trace.trace",
        "factcensus.indexer.counting.completion.complete",
        "factcensus.indexer.records.Entity",
        "factcensus.indexer.counting.scope.Scope",
        "factcensus.indexer.counting.deadline.Deadline",
    ],
    "Answers": [
        "factcensus.indexer.answers.counts.CountAnswer",
        "factcensus.indexer.answers.counts.CooccurrenceAnswer",
        "factcensus.indexer.answers.documents.DocumentsAnswer",
        "factcensus.indexer.answers.trace.TraceAnswer",
        "factcensus.indexer.answers.completions.CompletionAnswer",
        "factcensus.indexer.answers.indexes.IndexInfo",
    ],
    "Tables of facts": [
        "factcensus.indexer.tables.facts.read_facts",
        "factcensus.indexer.tables.facts.facts_from_rows",
        "factcensus.indexer.tables.counts.count_facts",
        "factcensus.indexer.tables.strata.stratify",
        "factcensus.indexer.tables.description.describe",
        "factcensus.indexer.tables.comparison.compare",
        "factcensus.indexer.tables.plots.plot_counts",
        "factcensus.indexer.tables.plots.plot_comparison",
        "factcensus.indexer.counting.scan.scan_facts",
        "factcensus.indexer.tables.files.write_table",
    ],
    "Building and changing": [
        "factcensus.indexer.building.build.build_index",
        "factcensus.indexer.building.build.add_to_index",
        "factcensus.indexer.changing.deletion.delete_documents",
        "factcensus.indexer.building.compaction.compact_index",
        "factcensus.indexer.changing.slices.slice_index",
        "factcensus.indexer.changing.verify.verify_index",
    ],
    "Asking a service": [
        "factcensus.api.client.Client",
        "factcensus.api.client.RemoteJob",
        "factcensus.api.client.AsyncClient",
        "factcensus.api.client.AsyncRemoteJob",
        "factcensus.api.client.count_facts",
    ],
    "Errors": ["factcensus.indexer.errors", "factcensus.api.errors"],
}
#: The theme breaks names in the first column anywhere. On wide screens they fit on one line.
STYLE = "@media (min-width: 60em) { .md-typeset td:first-child code { white-space: nowrap } }\n"
#: Sentences below a heading of the page on Python.
NOTES = {
    "Counting": "`find_documents`, `trace` and `complete` are methods of `CountIndex`: call `index.trace(text)`.",
    "Answers": "Import these names from `factcensus.indexer.answers`. Each answer has the method `as_json()`.",
    "Asking a service": "Import these names from `factcensus.api.client`.",
}
#: The members of ``CountIndex`` on the page on Python; the others serve this package.
MEMBERS = (
    "open, count, count_many, count_ngrams, cooccurrence, count_facts, info, digest, generation, changed, reopen, "
    "keeps_text, use_order, token_ids, words, text, estimate, usage, close"
)
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
    files.append(File.generated(config, "site.css", content=STYLE))
    files.append(File.generated(config, "reference/command-line.md", content=_command_line()))
    files.append(File.generated(config, "reference/python.md", content=_python()))
    files.append(File.generated(config, "reference/routes.md", content=_routes()))
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


def _routes() -> str:
    """Return a page with every route and type of the OpenAPI document."""
    document = json.loads((ROOT / "api" / "openapi.json").read_text(encoding="utf-8"))
    lines = [
        "# REST routes",
        "",
        "This page is made from `openapi.json`. [rest-api.md](../rest-api.md) shows each route with an example.",
        "",
    ]
    for tag in document["tags"]:
        lines += [f"## {tag['name']}", "", tag["description"], ""]
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if operation["tags"] == [tag["name"]]:
                    lines += _route(f"{method.upper()} {path}", operation)
    lines += ["## Types", ""]
    for name, schema in document["components"]["schemas"].items():
        lines += [f"### {name}", "", schema.get("description", ""), ""]
        rows = [(field, each) for field, each in schema["properties"].items()]
        lines += _table(rows, set(schema.get("required", ())))
    return "\n".join(lines)


def _route(heading: str, operation: dict[str, Any]) -> list[str]:
    lines = [f"### `{heading}`", "", f"{operation['summary']}. {operation['description']}", ""]
    parameters = operation.get("parameters", [])
    rows = [(each["name"], each["schema"] | {"description": each["description"]}) for each in parameters]
    lines += _table(rows, {each["name"] for each in parameters if each.get("required")})
    for status, response in {"Body": operation.get("requestBody", {}), **operation["responses"]}.items():
        contents = response.get("content", {}).items()
        types = [f"`{media}` {_type(content['schema'])}" for media, content in contents]
        if types:
            lines += [f"{status}: {', '.join(types)}", ""]
    return lines


def _table(rows: list[tuple[str, dict[str, Any]]], required: set[str]) -> list[str]:
    if not rows:
        return []
    lines = ["| name | type | meaning |", "| --- | --- | --- |"]
    for name, schema in rows:
        meaning = schema.get("description", "") + " (required)" * (name in required)
        lines.append(f"| `{name}` | {_type(schema)} | {meaning.replace('|', chr(92) + '|')} |")
    return [*lines, ""]


def _type(schema: dict[str, Any]) -> str:
    """Return the type of a schema in a few words, with links to the named types."""
    if (reference := schema.get("$ref")) is not None:
        name = reference.rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(map(_type, alternatives)))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type", "any value"))


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
        "Import the names below from `factcensus.indexer`, unless another module is given.",
        "",
    ]
    for heading, names in PUBLIC.items():
        lines += [f"## {heading}", "", NOTES.get(heading, ""), ""]
        for name in names:
            lines += [f"::: {name}", "    options:", "      heading_level: 3"]
            if name.endswith(".CountIndex"):
                # Its constructor is not public: CountIndex.open is, and its base class defines it.
                lines += [
                    "      merge_init_into_class: false",
                    "      inherited_members: true",
                    "      show_bases: false",
                ]
                lines.append(f"      members: [{MEMBERS}]")
            lines += ["      show_root_full_path: false"] * (not name.endswith(".errors"))
            lines.append("")
    return "\n".join(lines)
