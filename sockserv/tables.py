"""Tables of a TOML file as objects, and what is wrong with one in the words of who wrote it."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

__all__ = ["FieldError", "converted"]

T = TypeVar("T", bound=msgspec.Struct)

_VALIDATION_MESSAGE = re.compile(r"(.*?)(?: - at `\$\.?(.*)`)?", re.DOTALL)
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING_FIELD = re.compile(r"Object missing required field `(.*)`", re.DOTALL)


class FieldError(ValueError):
    """A field of a table is wrong. `field` is where it stands (`limits.max_calls`, `tokens[0].expires`)."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


def converted(content: dict[str, Any], kind: type[T], *, where: str = "") -> T:
    """A table as a `kind`, whose fields are no tables themselves.

    `where` is what stands before a field's name, as `limits.`. Raises `FieldError`.
    """
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        matched = _VALIDATION_MESSAGE.fullmatch(str(error))
        assert matched is not None  # it matches any text
        what, field = matched[1], matched[2] or ""
        unknown = _UNKNOWN_FIELD.fullmatch(what)
        if unknown is not None:
            raise FieldError(f"{where}{unknown[1]}", _no_such(unknown[1], kind)) from None
        missing = _MISSING_FIELD.fullmatch(what)
        if missing is not None:
            raise FieldError(f"{where}{missing[1]}", "is missing") from None
        what = what.replace("`object`", "table").replace("`", "")
        raise FieldError(f"{where}{field}", f"{what[:1].lower()}{what[1:]}") from None


def _no_such(name: str, kind: type[msgspec.Struct]) -> str:
    # Imported late: most files have nothing wrong.
    import difflib

    near = difflib.get_close_matches(name, kind.__struct_fields__, 1)
    advice = f"did you mean {near[0]}?" if near else f"expected {', '.join(kind.__struct_fields__)}"
    return f"there is no such setting; {advice}"
