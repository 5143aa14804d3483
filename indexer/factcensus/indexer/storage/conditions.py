"""Conditions written by users: a single SQL expression over document columns and metadata fields.

DuckDB parses the text. Its syntax tree may contain comparisons, logic, arithmetic, constants, columns, metadata fields
and the functions listed here. Subqueries, parameters, other tables, and functions that read files or settings are
refused before anything runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import duckdb

from factcensus.indexer.errors import InputError
from factcensus.indexer.names import unknown_name
from factcensus.indexer.storage.fields import COLUMNS, find_field, is_encodable, known_fields, quote_name, quote_text

#: The kinds of expressions allowed in a condition.
_KINDS = {
    "COMPARISON",
    "CONJUNCTION",
    "OPERATOR",
    "BETWEEN",
    "CASE",
    "CAST",
    "COLUMN_REF",
    "CONSTANT",
    "FUNCTION",
    "COLLATE",
    "TYPE",
    "LAMBDA",
}
#: Functions whose result depends only on their arguments and is not much larger than them.
_LIST = """
~~ !~~ ~~* !~~* ~~~ like_escape ilike_escape not_like_escape not_ilike_escape ^@ || lower upper lcase ucase trim
ltrim rtrim length len strlen left right substr substring replace reverse concat concat_ws contains starts_with
prefix ends_with suffix strpos instr position split_part string_split str_split regexp_matches regexp_full_match
regexp_extract regexp_replace strip_accents nfc_normalize md5 sha256 levenshtein jaccard
+ - * / // % ** ^ & | << >> ~ abs ceil ceiling floor round trunc sign greatest least mod pow power sqrt ln log log10
log2 exp isnan isinf isfinite nullif ifnull if
-> ->> json_extract json_extract_string json_extract_path json_extract_path_text json_value json_exists json_type
json_array_length json_contains json_keys json_valid
date_part datepart date_trunc datetrunc date_diff datediff year month day hour minute second quarter week dayofweek
strptime try_strptime strftime epoch make_date to_seconds to_minutes to_hours to_days to_weeks to_months to_years
list_value list_contains list_has array_contains array_has list_has_any list_has_all list_position list_extract
array_extract array_slice list_slice array_length
"""
FUNCTIONS = frozenset(_LIST.split())
#: Functions with a metadata path as second argument, which return NULL if the path does not exist.
_EXTRACTING = {"->", "->>", "json_extract", "json_extract_string", "json_extract_path", "json_extract_path_text"}
#: Document columns that conditions may use, in addition to those by which counts can be grouped.
_MORE_COLUMNS = ("text_digest", "metadata")
_EQUALITIES = {
    "COMPARE_EQUAL",
    "COMPARE_NOTEQUAL",
    "COMPARE_DISTINCT_FROM",
    "COMPARE_NOT_DISTINCT_FROM",
    "COMPARE_IN",
    "COMPARE_NOT_IN",
}
_BRACKETS = (("((", "))"), ("[", "]"))
_INSTEAD = "write one condition over columns and metadata fields, such as  source = 'c4' AND metadata.lang = 'en'"


def check_condition(connection: duckdb.DuckDBPyConnection, where: str) -> tuple[str, dict[str, str]]:
    """Check a condition written by a user, and return it as executable SQL.

    Args:
        connection: Has the view ``documents``.
        where: A condition in DuckDB's SQL. Metadata fields may be written like columns (``meta.lang = 'en'``), as
            text, or as JSON (``metadata ->> '$.meta.lang'``).

    Returns:
        The condition over the document columns and additional columns, and the names of the additional columns by
        expression.

    Raises:
        InputError: The text is not one expression, or uses a forbidden element.
        UnknownNameError: No document has a column or field; the message suggests the most similar one.
    """
    statement = _parse(connection, where)
    added: dict[str, str] = {}
    for node in _expressions(statement["node"]["select_list"]):
        _check_expression(node, where)
        _compare_as_written(connection, node)
        _check_path(connection, node, where)
        if node["class"] == "COLUMN_REF":
            node["column_names"] = [_column(connection, node["column_names"], added)]
    statement["node"]["select_list"][0]["alias"] = ""
    tree = json.dumps({"error": False, "statements": [statement]})
    (row,) = connection.execute("SELECT json_deserialize_sql(CAST($tree AS JSON))", {"tree": tree}).fetchall()
    return str(row[0]).removeprefix("SELECT "), added


def _parse(connection: duckdb.DuckDBPyConnection, where: str) -> dict[str, Any]:
    """Return the syntax tree of ``SELECT (where)`` if it is one expression without a table."""
    if "\0" in where or not where.strip() or not is_encodable(where):
        raise _unusable(where, "it is empty, or contains a NUL character or a lone surrogate")
    try:
        # A comment at the end must not hide the brackets. A text that closes and opens one kind, such as
        # a = 1) OR (b = 2, is not one expression, and fails in the other kind.
        tree, in_list = (
            _syntax_tree(connection, f"SELECT {opened}\n{where}\n{closed}") for opened, closed in _BRACKETS
        )
    except duckdb.ParserException as error:
        raise _unusable(where, str(error)) from error
    except RecursionError as error:
        raise InputError(f"the condition {where!r:.200} is nested too deeply; simplify it") from error
    for each in (tree, in_list):
        if each["error"]:
            raise _unusable(where, f"{each['error_message']}")
    if len(tree["statements"]) != 1 or not _is_expression(tree["statements"][0].get("node", {})):
        raise InputError(f"the condition {where!r:.200} is not one expression; {_INSTEAD}")
    statement: dict[str, Any] = tree["statements"][0]
    return statement


def _syntax_tree(connection: duckdb.DuckDBPyConnection, query: str) -> dict[str, Any]:
    (row,) = connection.execute("SELECT json_serialize_sql($query)", {"query": query}).fetchall()
    tree: dict[str, Any] = json.loads(row[0])
    return tree


def _is_expression(node: dict[str, Any]) -> bool:
    """Return whether a statement is ``SELECT`` with one expression, without a table or other clauses."""
    clauses = ("where_clause", "having", "qualify", "sample", "group_expressions", "group_sets", "modifiers")
    return (
        node.get("type") == "SELECT_NODE"
        and len(node.get("select_list", ())) == 1
        and node.get("from_table", {}).get("type") == "EMPTY"
        and not node.get("cte_map", {}).get("map")
        and not any(node.get(clause) for clause in clauses)
    )


def _expressions(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every expression and every other typed node of a tree, without recursion."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if "class" in node or str(node.get("type", "")).endswith("_NODE"):
                yield node
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def _check_expression(node: dict[str, Any], where: str) -> None:
    kind = node.get("class")
    if kind not in _KINDS:
        what = str(kind or node.get("type")).lower().replace("_", " ")
        raise InputError(f"the condition {where!r:.200} uses a {what}; {_INSTEAD}")
    # A lambda with a constant is the JSON operator ->.
    if kind == "LAMBDA" and node.get("expr", {}).get("class") != "CONSTANT":
        raise InputError(f"the condition {where!r:.200} uses a lambda; {_INSTEAD}")
    if kind != "FUNCTION":
        return
    name = str(node["function_name"]).lower()
    if name not in FUNCTIONS:
        raise unknown_name("function in a condition", name, sorted(each for each in FUNCTIONS if each[0].isalpha()))
    plain = not any(node.get(key) for key in ("schema", "catalog", "filter", "distinct", "export_state"))
    if not plain or (node.get("order_bys") or {}).get("orders"):
        raise InputError(f"the function {name!r} in the condition {where!r:.200} may only have arguments; {_INSTEAD}")


def _compare_as_written(connection: duckdb.DuckDBPyConnection, node: dict[str, Any]) -> None:
    """Rewrite an expression so that a number equals only texts written like it; DuckDB rounds text to the number type.

    In DuckDB, ``id = 7`` also holds for the ids 7.4 and 007, and ``score = 0.5`` for 0.54. So whole numbers become
    text, which takes the type of the other side, and fractions are compared as DOUBLE.
    """
    if node.get("class") == "FUNCTION" and node["function_name"].lower() == "nullif":
        sides = [each.get("expression", each) for each in node.get("arguments") or node.get("children") or []]
        _as_numbers(connection, sides)
        for each in sides:
            _as_text(connection, each)
    if node.get("type") not in _EQUALITIES:
        return
    several = "children" in node
    sides = node["children"] if several else [node["left"], node["right"]]
    if not several and sides[0].get("class") == "CONSTANT":
        sides.reverse()
    one, others = sides[0], sides[1:]
    if one.get("class") == "CONSTANT":  # 7 IN (id)
        if None in map(_number_kind, others):
            _as_numbers(connection, sides)
            _as_text(connection, one)
    elif not _as_numbers(connection, sides):
        _compare_with_whole_numbers(connection, node, one, others)


def _as_numbers(connection: duckdb.DuckDBPyConnection, sides: list[dict[str, Any]]) -> bool:
    """Convert the sides of a comparison to numbers if one of them is a fraction, and return whether it is."""
    if "fraction" not in map(_number_kind, sides):
        return False
    for each in sides:
        _as_number(connection, each)
    return True


def _compare_with_whole_numbers(
    connection: duckdb.DuckDBPyConnection, node: dict[str, Any], one: dict[str, Any], others: list[dict[str, Any]]
) -> None:
    """Rewrite the whole numbers and truth values that an expression is compared with, if any, as texts."""
    kinds = [_number_kind(other) for other in others]
    if not any(kinds):
        return
    spellings = []
    for other, kind in zip(others, kinds, strict=True):
        texts = _spellings(other) if kind else []
        spellings += [_expression(connection, quote_text(text)) for text in texts] or [other]
    _compare_with(connection, node, one, spellings)


def _compare_with(
    connection: duckdb.DuckDBPyConnection, node: dict[str, Any], one: dict[str, Any], spellings: list[dict[str, Any]]
) -> None:
    """Rewrite a comparison with a number to one with all its spellings."""
    if "children" in node:
        node["children"] = [one, *spellings]
    elif node["type"] == "COMPARE_EQUAL" or node["type"] == "COMPARE_NOTEQUAL":
        instead = _expression(connection, f"NULL {'NOT ' * (node['type'] != 'COMPARE_EQUAL')}IN (NULL)")
        inner = instead if instead["type"].startswith("COMPARE") else instead["children"][0]
        inner["children"] = [one, *spellings]
        _replace(node, instead)
    else:
        other = node["left"] if node["right"] is one else node["right"]
        _replace(other, spellings[0])


def _as_text(connection: duckdb.DuckDBPyConnection, node: dict[str, Any]) -> None:
    """Return a whole number or truth value as text."""
    if _number_kind(node) == "whole":
        _replace(node, _expression(connection, quote_text(_spellings(node)[0])))


def _as_number(connection: duckdb.DuckDBPyConnection, node: dict[str, Any]) -> None:
    """Convert an expression to DOUBLE, unless it is a constant; text that is not a number becomes NaN, and equals none.

    NULL stays NULL, as in every other comparison.
    """
    if node.get("class") == "CONSTANT":
        return
    number = _expression(
        connection, "CASE WHEN x IS NOT NULL THEN coalesce(TRY_CAST(x AS DOUBLE), CAST('nan' AS DOUBLE)) END"
    )
    for place in [each for each in _expressions(number) if each["class"] == "COLUMN_REF"]:
        _replace(place, deepcopy(node))
    _replace(node, number)


def _replace(node: dict[str, Any], new: dict[str, Any]) -> None:
    node.clear()
    node.update(new)


def _expression(connection: duckdb.DuckDBPyConnection, text: str) -> dict[str, Any]:
    """Return the syntax tree of an expression, without the statement around it."""
    (expression,) = _parse(connection, text)["node"]["select_list"]
    assert isinstance(expression, dict)
    return expression


def _number_kind(node: dict[str, Any]) -> str | None:
    """Return ``whole`` for a constant integer or truth value, ``fraction`` for another number, otherwise None."""
    if node.get("class") != "CONSTANT":
        return None
    literal, value = node.get("literal") or {}, node.get("value") or {}
    kind = str(literal.get("kind") or value.get("type", {}).get("id"))
    if kind in ("NUMERIC", "DECIMAL", "FLOAT", "DOUBLE"):
        return "fraction"
    return "whole" if kind == "BOOLEAN" or kind.endswith(("INTEGER", "INT")) else None


def _spellings(node: dict[str, Any]) -> list[str]:
    """Return the spellings of an integer or truth value as text; JSON has 1990.0 if a table had floats."""
    constant = node.get("literal") or node.get("value") or {}
    text = str(constant.get("text", constant.get("value"))).lower()
    return [text] if text in ("true", "false") else [text, f"{text}.0"]


def _column(connection: duckdb.DuckDBPyConnection, names: list[str], added: dict[str, str]) -> str:
    """Return the column for a name in a condition; a metadata field is added as a new column."""
    columns = (*COLUMNS, *_MORE_COLUMNS)
    if len(names) == 1 and names[0] in columns:
        return names[0]
    try:
        expression = find_field(connection, names[0] if len(names) == 1 else names)
    except InputError:
        # SQL ignores the case of columns; a metadata field with exactly this spelling comes first.
        if len(names) == 1 and names[0].lower() in columns:
            return names[0].lower()
        raise
    return added.setdefault(expression, f"field {len(added)}")


def _check_path(connection: duckdb.DuckDBPyConnection, node: dict[str, Any], where: str) -> None:
    """Refuse a metadata path that no document has."""
    if node["class"] == "LAMBDA":
        arguments = [node.get("lhs", {}), node["expr"]]
    elif node["class"] == "FUNCTION" and node["function_name"].lower() in _EXTRACTING:
        arguments = [each.get("expression", each) for each in node.get("arguments") or node.get("children") or []]
    else:
        return
    if len(arguments) != 2 or arguments[0].get("column_names") != ["metadata"]:
        return
    constant = arguments[1].get("literal") or arguments[1].get("value") or {}
    path = constant.get("text", constant.get("value"))
    if arguments[1].get("class") != "CONSTANT" or not isinstance(path, str) or "*" in path or ".." in path:
        return
    query = "SELECT 1 FROM documents WHERE (metadata -> CAST($path AS VARCHAR)) IS NOT NULL LIMIT 1"
    try:
        found = connection.execute(query, {"path": path}).fetchall()
    except duckdb.BinderException as error:
        raise _unusable(where, str(error)) from error
    if not found:
        name = path.removeprefix("$.").removeprefix("/").replace("/", ".")
        raise unknown_name("metadata field", name, known_fields(connection))


def _unusable(where: str, reason: str) -> InputError:
    return InputError(f"invalid condition {where!r:.200}: {reason.strip().partition(chr(10))[0]}")


def selecting(added: dict[str, str]) -> str:
    """Return the additional columns of a condition as SQL."""
    return "".join(f", {expression} AS {quote_name(name)}" for expression, name in added.items())
