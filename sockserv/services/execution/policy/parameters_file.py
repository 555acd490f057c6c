"""The parameters of named commands as they are written in `commands.toml`."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import attrs
import msgspec
from msgspec import UNSET, Meta, UnsetType

from sockserv.execution.arguments import MAX_ARGUMENTS
from sockserv.services.execution.policy.parameters import (
    MAX_INTEGER,
    MAX_VALUE_CHARACTERS,
    Choice,
    Expected,
    Integer,
    Parameter,
    PathInFolder,
    Text,
    WrongValue,
)
from sockserv.services.execution.policy.patterns import Pattern, PatternError
from sockserv.tables import FieldError, converted

__all__ = ["parsed_parameter"]

_Count = Annotated[int, Meta(ge=0, le=MAX_ARGUMENTS)]
_Integer = Annotated[int, Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)]


class _ParameterTable(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    description: Annotated[str, Meta(max_length=200)] = ""
    default: str | int | UnsetType = UNSET
    min_count: _Count | UnsetType = UNSET
    max_count: Annotated[int, Meta(ge=1, le=MAX_ARGUMENTS)] | UnsetType = UNSET


class _ChoiceTable(_ParameterTable, kw_only=True):
    choices: Annotated[tuple[str, ...], Meta(min_length=1, max_length=1000)]


class _IntegerTable(_ParameterTable, kw_only=True):
    min: _Integer
    max: _Integer


class _PatternTable(_ParameterTable, kw_only=True):
    pattern: str
    max_length: Annotated[int, Meta(ge=1, le=MAX_VALUE_CHARACTERS)] = 256
    options: bool = False


class _PathTable(_ParameterTable, kw_only=True):
    expects: Literal["file", "directory", "new", "anything"] = "file"


_TABLES: Final[dict[str, type[_ParameterTable]]] = {
    "choice": _ChoiceTable,
    "integer": _IntegerTable,
    "pattern": _PatternTable,
    "path": _PathTable,
}


def parsed_parameter(name: str, content: Any) -> Parameter:
    """The parameter that a table says. Raises `FieldError` that names the field of the command's table."""
    where = f"parameters.{name}"
    if not isinstance(content, dict):
        raise FieldError(where, f"expected a table parameters.{name} with its fields below it")
    kind_of_table = _TABLES.get(content["type"]) if isinstance(content.get("type"), str) else None
    if kind_of_table is None:
        raise FieldError(
            f"{where}.type", f"expected one of {', '.join(_TABLES)}, and it has to be said"
        )
    table = converted(content, kind_of_table, where=f"{where}.")
    if not table.description.isprintable():
        raise FieldError(f"{where}.description", "expected one line without control characters")
    least, most = _counts(where, table)
    parameter = Parameter(
        name=name,
        kind=_kind(where, table),
        min_count=least,
        max_count=most,
        is_repeated=table.max_count is not UNSET,
        description=table.description,
    )
    if table.default is UNSET:
        return parameter
    if parameter.is_repeated:
        raise FieldError(
            f"{where}.default", "what is repeated has none; min_count = 0 lets it be left out"
        )
    default = str(table.default)
    try:
        parameter.check(default)
    except WrongValue as error:
        raise FieldError(f"{where}.default", str(error)) from None
    return attrs.evolve(parameter, default=default)


def _counts(where: str, table: _ParameterTable) -> tuple[int, int]:
    if table.max_count is UNSET:
        if table.min_count is not UNSET:
            raise FieldError(f"{where}.min_count", "is for what is repeated: write max_count, too")
        return 1, 1
    least = 1 if table.min_count is UNSET else table.min_count
    if least > table.max_count:
        raise FieldError(
            f"{where}.min_count", f"is more than max_count, which is {table.max_count}"
        )
    return least, table.max_count


def _kind(where: str, table: _ParameterTable) -> Choice | Integer | Text | PathInFolder:
    match table:
        case _ChoiceTable():
            for number, choice in enumerate(table.choices):
                if not choice.isprintable():
                    field = f"{where}.choices[{number}]"
                    raise FieldError(field, "expected one line without control characters")
            return Choice(table.choices)
        case _IntegerTable():
            if table.min > table.max:
                raise FieldError(f"{where}.min", f"is more than max, which is {table.max}")
            return Integer(table.min, table.max)
        case _PatternTable():
            try:
                pattern = Pattern(table.pattern)
            except PatternError as error:
                raise FieldError(f"{where}.pattern", str(error)) from None
            return Text(pattern, table.max_length, table.options)
        case _PathTable():
            return PathInFolder(Expected(table.expects))
        case _:
            raise AssertionError(f"there is a class for each of {_TABLES}")
