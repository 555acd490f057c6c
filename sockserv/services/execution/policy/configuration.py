"""What the owner of a daemon has said about commands, in the file `commands.toml`.

```toml
[environment]
allow = ["LC_*"]                       # may come from outside, whoever asks, for what has no list of its own
set = { http_proxy = "http://proxy:3128" }    # every job has it

[owner]
exec = ["any"]                         # without it, the owner may run everything

[commands.flash]
description = "Write an image to a board"
argv = ["/usr/bin/flash", "--port", "{port}", "{image}"]

[commands.flash.parameters.port]
type = "integer"
min = 0
max = 7

[commands.flash.parameters.image]
type = "path"
```

Every field may be absent but `argv`, and those that a type of parameters needs. What is not said is not allowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from posixpath import normpath
from typing import Annotated, Any, Final, get_type_hints

import attrs
import msgspec
from msgspec import Meta

from sockserv.execution.arguments import ResourceLimits
from sockserv.services.execution.policy.commands import NamedCommand
from sockserv.services.execution.policy.environment import OURS, Names
from sockserv.services.execution.policy.parameters import Parameter
from sockserv.services.execution.policy.parameters_file import parsed_parameter
from sockserv.services.execution.policy.templates import TemplateError, Word
from sockserv.services.execution.policy.validity import VARIABLE
from sockserv.tables import FieldError, converted
from sockserv.trust.grants import COMMAND_NAME, check_rule
from sockserv.trust.toml_text import mistake, toml_document

__all__ = ["Configuration", "parse_configuration"]

_RESERVED: Final = {"any", "shell", "none"}
_TABLES: Final = ("environment", "owner", "commands")
_TABLES_OF_COMMAND: Final = ("parameters", "env", "limits")
_MAX_DESCRIPTION_CHARACTERS: Final = 200


@attrs.frozen(kw_only=True)
class Configuration:
    """What is said about commands.

    `allowed_variables` may come from outside for what has no list of its own, `set_variables` every job has.
    `owner_rules` are those of the owner, None for everything.
    """

    commands: Mapping[str, NamedCommand] = attrs.field(factory=dict)
    allowed_variables: Names = attrs.field(factory=Names)
    set_variables: Mapping[str, str] = attrs.field(factory=dict)
    owner_rules: tuple[str, ...] | None = None


class _EnvironmentTable(msgspec.Struct, forbid_unknown_fields=True):
    allow: tuple[str, ...] = ()
    set: dict[str, Any] = {}


class _OwnerTable(msgspec.Struct, forbid_unknown_fields=True):
    exec: tuple[str, ...]


_LimitsTable = msgspec.defstruct(
    "_LimitsTable",
    [(name, of, None) for name, of in get_type_hints(ResourceLimits, include_extras=True).items()],
    forbid_unknown_fields=True,
)


class _CommandTable(msgspec.Struct, forbid_unknown_fields=True):
    argv: Annotated[tuple[str, ...], Meta(min_length=1, max_length=256)]
    description: Annotated[str, Meta(max_length=_MAX_DESCRIPTION_CHARACTERS)] = ""
    parameters: dict[str, dict[str, Any]] = {}
    env: dict[str, Any] = {}
    env_allowed: tuple[str, ...] = ()
    cwd: str | None = None
    user: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    timeout_seconds: Annotated[float, Meta(gt=0, le=1e9)] | None = None
    output_limit_bytes: Annotated[int, Meta(ge=0, le=2**53 - 1)] | None = None
    limits: dict[str, Any] = {}
    nice: Annotated[int, Meta(ge=-20, le=19)] | None = None
    stdin: bool = False
    terminal: bool = False


def parse_configuration(text: str, *, file: str) -> Configuration:
    """What a file's text says; `file` is what errors call it.

    Raises `EditedFileError` that names the line and the field.
    """
    document = toml_document(text, file=file)
    tables = {name: _table(document, name, text, file) for name in _TABLES}
    unknown = next((name for name in document if name not in _TABLES), None)
    if unknown is not None:
        error = FieldError("", f"there is no such table; expected {', '.join(_TABLES)}")
        raise mistake(text, (unknown,), error, file=file)
    try:
        allowed, fixed = _environment(tables["environment"])
    except FieldError as error:
        raise mistake(text, ("environment",), error, file=file) from None
    try:
        owner_rules = _owner_rules(tables["owner"]) if "owner" in document else None
    except FieldError as error:
        raise mistake(text, ("owner",), error, file=file) from None
    commands = {}
    for name, content in tables["commands"].items():
        try:
            commands[name] = _command(name, content)
        except FieldError as error:
            raise mistake(text, ("commands", name), error, file=file) from None
    return Configuration(
        commands=commands,
        allowed_variables=allowed,
        set_variables=fixed,
        owner_rules=owner_rules,
    )


def _table(document: dict[str, Any], name: str, text: str, file: str) -> dict[str, Any]:
    content = document.get(name, {})
    if isinstance(content, dict):
        return content
    where = f"[{name}.NAME]" if name == "commands" else f"[{name}]"
    error = FieldError("", f"expected a table {where} with its fields below it")
    raise mistake(text, (name,), error, file=file)


def _environment(content: dict[str, Any]) -> tuple[Names, dict[str, str]]:
    table = converted(content, _EnvironmentTable)
    _check_variables("set", table.set)
    return _names("allow", table.allow), table.set


def _owner_rules(content: dict[str, Any]) -> tuple[str, ...]:
    table = converted(content, _OwnerTable)
    for number, rule in enumerate(table.exec):
        check_rule(f"exec[{number}]", rule)
    return table.exec


def _command(name: str, content: Any) -> NamedCommand:
    if not isinstance(content, dict):
        raise FieldError("", f"expected a table [commands.{name}] with its fields below it")
    if name in _RESERVED or not COMMAND_NAME.fullmatch(name):
        raise FieldError(
            "",
            "a command's name has small letters, digits, _ . and -, begins with a letter or digit, and is none of "
            f"{', '.join(sorted(_RESERVED))}",
        )
    for field, value in content.items():
        if isinstance(value, dict) and field not in _TABLES_OF_COMMAND:
            raise FieldError(
                field, 'there is no such table; a name with dots is written [commands."like.this"]'
            )
    table = converted(content, _CommandTable)
    words = tuple(_words(table.argv))
    limits = converted(table.limits, _LimitsTable, where="limits.")
    if not table.description.isprintable():
        raise FieldError("description", "expected one line without control characters")
    if table.cwd is not None and (not table.cwd.startswith("/") or "\0" in table.cwd):
        raise FieldError("cwd", f"expected the absolute path of a directory, not {table.cwd!r}")
    if table.user is not None and "\0" in table.user:
        raise FieldError("user", f"expected the name of an account, not {table.user!r}")
    _check_variables("env", table.env)
    return NamedCommand(
        name=name,
        words=words,
        parameters=_parameters(words, table.parameters),
        description=table.description,
        env=table.env,
        env_allowed=_names("env_allowed", table.env_allowed),
        cwd=table.cwd,
        user=table.user,
        timeout_seconds=table.timeout_seconds,
        output_limit_bytes=table.output_limit_bytes,
        limits=ResourceLimits(**msgspec.structs.asdict(limits)),
        nice=table.nice,
        stdin=table.stdin,
        terminal=table.terminal,
    )


def _words(argv: Iterable[str]) -> Iterable[Word]:
    for number, text in enumerate(argv):
        field = f"argv[{number}]"
        if "\0" in text:
            raise FieldError(field, "has a NUL in it, which no program can be given")
        try:
            word = Word.parse(text)
        except TemplateError as error:
            raise FieldError(field, str(error)) from None
        if number == 0 and (word.places or not _is_path("".join(word.filled({})))):
            raise FieldError(
                field, f"expected the absolute path of a program, without . and .., not {text!r}"
            )
        yield word


def _is_path(path: str) -> bool:
    return path.startswith("/") and not path.startswith("//") and normpath(path) == path != "/"


def _parameters(
    words: tuple[Word, ...], tables: Mapping[str, dict[str, Any]]
) -> tuple[Parameter, ...]:
    """The parameters in the order of their places. Raises `FieldError`."""
    parameters: dict[str, Parameter] = {}
    for number, word in enumerate(words):
        for name in word.places:
            if name not in tables:
                raise FieldError(
                    f"argv[{number}]",
                    f"there is no parameter {name}: write a table parameters.{name}",
                )
            if name not in parameters:
                parameters[name] = parsed_parameter(name, tables[name])
            if parameters[name].is_repeated and not word.is_place:
                raise FieldError(
                    f"argv[{number}]", f"{name} is repeated: its place has to be a word of its own"
                )
    unused = next((name for name in tables if name not in parameters), None)
    if unused is not None:
        raise FieldError(f"parameters.{unused}", f"has no place in argv: write {{{unused}}} there")
    _check_order(tuple(parameters.values()))
    return tuple(parameters.values())


def _check_order(parameters: tuple[Parameter, ...]) -> None:
    """Raises `FieldError` where it would not be clear which value is whose."""
    optional = None
    for number, parameter in enumerate(parameters):
        field = f"parameters.{parameter.name}"
        if parameter.is_repeated and number < len(parameters) - 1:
            raise FieldError(
                field,
                f"is repeated, and {parameters[number + 1].name} comes after it in argv: only the last one may be",
            )
        if parameter.default is not None or parameter.min_count == 0:
            optional = optional or parameter.name
        elif optional is not None:
            raise FieldError(
                field, f"comes after {optional}, which may be left out: give it a default, too"
            )


def _check_variables(field: str, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if not isinstance(value, str):
            raise FieldError(f"{field}.{name}", "expected a text in quotation marks")
        if not VARIABLE.fullmatch(name) or name in OURS:
            raise FieldError(f"{field}.{name}", _not_a_variable(name))
        if "\0" in value:
            raise FieldError(f"{field}.{name}", "has a NUL in it, which no program can be given")


def _names(field: str, patterns: tuple[str, ...]) -> Names:
    for number, pattern in enumerate(patterns):
        name = pattern[:-1] if pattern.endswith("*") else pattern
        if not VARIABLE.fullmatch(name) or name in OURS or "SOCKSERV_".startswith(name):
            raise FieldError(f"{field}[{number}]", _not_a_variable(pattern))
    return Names.of(patterns)


def _not_a_variable(name: str) -> str:
    return (
        "expected the name of a variable (letters of English, digits and _, none that begin with SOCKSERV_; in a list "
        f"also LC_* for all that begin so), not {name!r}"
    )
