"""Values as they stand in the audit log: no secrets, nothing long, nothing that JSON cannot express."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from functools import lru_cache
from typing import Any, Final

import attrs

__all__ = ["SECRET", "fitting", "fitting_text", "has_secrets"]

SECRET: Final = "<secret>"
"""What stands for the value of a field that has `metadata={"secret": True}`."""

_MAX_TEXT_CHARACTERS: Final = 256
_MAX_ITEMS: Final = 16
_MAX_DEPTH: Final = 5
_MAX_VALUES: Final = 64
"""How many values one record shows: with texts of the greatest length some 16 thousand characters."""
_MAX_KNOWN_CLASSES: Final = 256

_PLAIN: Final = frozenset({type(None), bool, float})
"""What stands in a record as it is. Nearly all values are one of these, or a text, so that is looked for first."""


def fitting(value: Any) -> Any:
    """`value` with all that is long cut, which is said in its place, and secret fields of attrs classes hidden."""
    return _Fitter().fit(value, 0)


def fitting_text(text: str) -> str:
    """The beginning of a text, and how much there was of it; lone surrogates are escaped."""
    if len(text) > _MAX_TEXT_CHARACTERS:
        text = f"{text[:_MAX_TEXT_CHARACTERS]}... ({len(text)} characters)"
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def has_secrets(kind: type) -> bool:
    """Whether an attrs class has a secret field, so that no word about a wrong value is to be repeated."""
    return any(field.metadata.get("secret") for field in attrs.fields(kind))


@lru_cache(_MAX_KNOWN_CLASSES)
def _fields_of(kind: type) -> tuple[tuple[str, bool], ...] | None:
    """The names of the fields of an attrs class, and whether each is secret; None for another class."""
    if not attrs.has(kind):
        return None
    return tuple((field.name, bool(field.metadata.get("secret"))) for field in attrs.fields(kind))


def _text_of(value: Any) -> str:
    try:
        return str(value)
    except Exception as error:
        # What somebody has noted must not keep the rest from being written down.
        return f"<{type(value).__name__}: {type(error).__name__}>"


def _items_of(value: Any, fields: Iterable[tuple[str, bool]]) -> Iterable[tuple[str, Any]]:
    for name, is_secret in fields:
        given = getattr(value, name)
        yield name, SECRET if is_secret and given is not None else given


class _Fitter:
    """Counts the values of one record."""

    def __init__(self) -> None:
        self._values = 0

    def fit(self, value: Any, depth: int) -> Any:
        self._values += 1
        kind = type(value)
        if kind is str:
            return fitting_text(value)
        if kind in _PLAIN:
            return value
        return self._fit_other(value.value if isinstance(value, Enum) else value, depth)

    def _fit_other(self, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool | float):
            return value
        if isinstance(value, int):
            # A number may have as many digits as it likes.
            return value if -(2**63) <= value < 2**63 else fitting_text(hex(value))
        if isinstance(value, bytes | bytearray | memoryview):
            return f"<{len(value)} bytes>"
        fields = _fields_of(type(value))  # type: ignore[arg-type]  # mypy finds no hash in `type[Any]`
        if fields is not None:
            return self._fit_items(_items_of(value, fields), len(fields), depth)
        if isinstance(value, Mapping):
            items = ((fitting_text(_text_of(key)), each) for key, each in value.items())
            return self._fit_items(items, len(value), depth)
        if isinstance(value, list | tuple | set | frozenset):
            return self._fit_list(value, depth)
        return fitting_text(_text_of(value))

    def _fit_items(self, items: Iterable[tuple[str, Any]], count: int, depth: int) -> Any:
        if depth >= _MAX_DEPTH:
            return f"... ({count} values)"
        shown: dict[str, Any] = {}
        for name, value in items:
            if len(shown) >= _MAX_ITEMS or self._values >= _MAX_VALUES:
                shown["..."] = f"{count - len(shown)} more"
                break
            shown[name] = self.fit(value, depth + 1)
        return shown

    def _fit_list(self, values: Any, depth: int) -> Any:
        if depth >= _MAX_DEPTH:
            return f"... ({len(values)} values)"
        shown: list[Any] = []
        for value in values:
            if len(shown) >= _MAX_ITEMS or self._values >= _MAX_VALUES:
                shown.append(f"... ({len(values) - len(shown)} more)")
                break
            shown.append(self.fit(value, depth + 1))
        return shown
