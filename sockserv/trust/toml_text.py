"""The text of a TOML file that a person edits, and what is said of mistakes in it: the line, the field, what to do."""

from __future__ import annotations

import re
import tomllib
from typing import Any, Final

from sockserv.tables import FieldError
from sockserv.trust.edited_file import EditedFileError
from sockserv.trust.toml_places import Place, Places

__all__ = ["mistake", "toml_document"]

_LINE_OF_TOMLLIB: Final = re.compile(
    r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", re.DOTALL
)
_PARTS_OF_PLACE: Final = re.compile(r"\w+")


def toml_document(text: str, *, file: str) -> dict[str, Any]:
    """What a text says. `file` is what errors call it. Raises `EditedFileError` that names the line."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise EditedFileError(f"{file}: is nested too deeply") from None
    except ValueError as error:
        raise EditedFileError(_not_toml(file, text, str(error))) from None


def mistake(text: str, table: tuple[str, ...], error: FieldError, *, file: str) -> EditedFileError:
    """The error that says of a field of a table in the text what is wrong with it, and where that is."""
    place: Place = tuple(
        int(part) if part.isdecimal() else part for part in _PARTS_OF_PLACE.findall(error.field)
    )
    places = Places(text)
    # An unknown field may be called anything, as if it were a place further in.
    line = max(places.line_of((*table, *place)), places.line_of((*table, error.field)))
    where = _shown(".".join((*table, error.field) if error.field else table))
    return EditedFileError(f"{file} line {line}: {where}: {error.problem}")


def _shown(name: str) -> str:
    return name if name.isprintable() else repr(name)


def _not_toml(file: str, text: str, message: str) -> str:
    matched = _LINE_OF_TOMLLIB.fullmatch(message)
    if matched is None:
        return f"{file}: is not TOML: {message}"
    what, line = matched.groups()
    line = line or text.count("\n") + 1
    return f"{file} line {line}: is not TOML: {what[:1].lower()}{what[1:]}"
