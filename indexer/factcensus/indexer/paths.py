"""Error messages for wrong paths: missing paths, files instead of folders, and folders instead of files."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from factcensus.indexer.errors import InputError, NoIndexError
from factcensus.indexer.names import nearest
from factcensus.indexer.system.places import Place

#: Maximum number of neighbours compared with a missing name, and of indexes listed in one message.
_MOST_COMPARED, _MOST_LISTED = 1000, 5
_MANIFEST = "manifest.json"


def not_found(what: str, path: Path) -> str:
    """Return the message for a path where the expected ``what`` (such as "table") is missing; suggests a similar name.

    Returns:
        A text such as ``no table at facts.cvs; did you mean 'facts.csv'?`` or ``no table at corpus: that is a folder``.
    """
    if path.is_dir():
        return f"no {what} at {path}: that is a folder"
    if path.exists():
        return f"no {what} at {path}: that is a file"
    try:
        neighbours = [each.name for each in islice(path.parent.iterdir(), _MOST_COMPARED)]
    except OSError:
        neighbours = []
    near = nearest(path.name, neighbours)
    return f"no {what} at {path}" + (f"; did you mean {str(path.with_name(near))!r}?" if near else "")


def index_folder(path: str | Path) -> Path:
    """Return a checked path of an index.

    Raises:
        InputError: It is an empty text, such as from an unset variable, which ``Path`` would read as the folder ``.``;
            or it is a URL, or was made from one.
    """
    if path == "":
        raise InputError("the path of the index is empty; give a folder ('.' for the current one)")
    place = Place.of(path)
    if not place.is_local:
        raise InputError(f"{place} is a URL, but this needs a local folder; copy the index to this machine")
    return Path(path)


def no_index(folder: Path) -> NoIndexError:
    """Return the error for a path that is not an index; for a folder of indexes, the message lists them."""
    if not folder.is_dir():
        return NoIndexError(not_found("index folder", folder))
    inside = indexes_in(folder)
    if not inside:
        return NoIndexError(f"{folder} is not an index: it has neither {_MANIFEST} nor tokenized.*")
    names = ", ".join(each.name for each in inside[:_MOST_LISTED])
    more = f" and {len(inside) - _MOST_LISTED} more" if len(inside) > _MOST_LISTED else ""
    return NoIndexError(f"{folder} is a folder of indexes ({names}{more}); give one of them, such as {inside[0]}")


def indexes_in(folder: Path) -> list[Path]:
    """Return the subfolders that are factcensus indexes, sorted by name."""
    return sorted(each.parent for each in folder.glob(f"*/{_MANIFEST}"))


def check_output_file(path: Path) -> None:
    """Check that a path can be used as an output file.

    Raises:
        InputError: The path is a folder, or is below a file.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file")
    _check_above(path)


def check_output_folder(path: Path) -> None:
    """Check that a path can be used as an output folder; its writer checks the contents of an existing folder.

    Raises:
        InputError: The path is a file, or is below a file.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; give the name of a folder")
    _check_above(path)


def _check_above(path: Path) -> None:
    Place.of(path)  # refuses a path that was made from a URL
    for above in path.parents:
        if above.exists():
            if not above.is_dir():
                raise InputError(f"{above} is a file, so {path} cannot be created; give another path")
            return
