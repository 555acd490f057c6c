"""The daemon's settings: a TOML file, `twistd sockserv`'s options over it, and the defaults under both.

```toml
listen = ["tcp:7700:interface=127.0.0.1", "unix:sockserv.sock"]
state = "~/.local/state/sockserv"

[limits]
max_calls = 64

[audit]
keep_files = 100

[files]
root = "/srv/files"
quota_bytes = 10_000_000_000

[exec]
max_jobs = 16
```

`[limits]` takes the names of `sockserv.limits.Limits`, `[audit]` those of `AuditSettings`, `[files]` those of
`FilesSettings`, `[exec]` those of `ExecutionLimits`, `[kept]` those of `KeptLimits`, `[chat]` those of `ChatLimits`
and `datagrams`, a UDP endpoint, `[classic]` those of `ClassicSettings`, with the dialects as `echo`, `exec_low`,
`exec` and `put`. Every key may be absent. A relative path in the file counts from the file's folder. For the state
directory the environment variable `SOCKSERV_STATE` comes before the file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

import attrs
import msgspec
from msgspec import UNSET, UnsetType

from sockserv.classic.settings import (
    ClassicSettings,
    Dialect,
    check_classic,
    classic_endpoints,
    classic_settings,
)
from sockserv.endpoints import (
    DEFAULT_ENDPOINT,
    Endpoint,
    UdpEndpoint,
    parse_endpoint,
    parse_udp_endpoint,
)
from sockserv.errors import ConfigError
from sockserv.limits import ChatLimits, ExecutionLimits, KeptLimits, Limits
from sockserv.state import ENVIRONMENT_VARIABLE, StateDirectory
from sockserv.tables import converted

__all__ = [
    "AuditSettings",
    "FilesSettings",
    "Settings",
    "load",
    "load_file",
]

T = TypeVar("T", bound=attrs.AttrsInstance)

# Whatever a limit counts: no quantity on the wire is larger, and no clock runs longer (30 years).
_RANGES: dict[Any, Any] = {
    int: Annotated[int, msgspec.Meta(gt=0, le=2**53 - 1)],
    float: Annotated[float, msgspec.Meta(gt=0, le=1e9)],
}
_RANGES[int | None] = _RANGES[int]  # there is no way to write None
_RANGES[float | None] = _RANGES[float]
_RANGES[Path | None] = Annotated[str, msgspec.Meta(min_length=1)]


@attrs.frozen(kw_only=True)
class AuditSettings:
    """How the audit log is kept."""

    max_file_bytes: int = 16 * 1024 * 1024
    """A file that has reached this size is followed by another."""

    keep_files: int = 64
    """How many files are kept; beyond that, the oldest is removed."""

    keep_seconds: float | None = None
    """A file that was written to within this time is kept, however many they are; None: only as `keep_files` says."""

    on_failure: Literal["refuse", "continue"] = "refuse"
    """What becomes of operations that change or run something while the log cannot be written."""


@attrs.frozen(kw_only=True)
class FilesSettings:
    """How files are served."""

    root: Path | None = attrs.field(default=None, converter=attrs.converters.optional(Path))
    """The owner's folder, from which the relative roots of all others count; None: `files` in the state directory."""

    quota_bytes: int | None = None
    """How much may be in the folder of anybody but the owner; None: as much as the disk holds."""

    rate_bytes_per_second: int | None = None
    """How fast anybody but the owner may send and receive files; None: as fast as can be."""

    partial_expiry_seconds: float = 7 * 86_400.0
    """What is left of an upload that broke off is removed when nobody has gone on with it for so long."""

    max_inbox_files: int = 1000
    """How many files others may have sent to one identity, and it has neither moved nor removed."""


@attrs.frozen(kw_only=True)
class Settings:
    """Everything that somebody can set about a daemon, checked."""

    listen: tuple[Endpoint, ...]
    state: StateDirectory
    limits: Limits = attrs.field(factory=Limits)
    audit: AuditSettings = attrs.field(factory=AuditSettings)
    files: FilesSettings = attrs.field(factory=FilesSettings)
    exec: ExecutionLimits = attrs.field(factory=ExecutionLimits)
    kept: KeptLimits = attrs.field(factory=KeptLimits)
    chat: ChatLimits = attrs.field(factory=ChatLimits)
    chat_udp: UdpEndpoint | None = None
    """Where the chat may go over UDP, which is always sealed; None: it does not."""
    classic: ClassicSettings = attrs.field(factory=ClassicSettings)


class _File(msgspec.Struct, forbid_unknown_fields=True):
    """The settings file as it is written."""

    listen: Annotated[list[str], msgspec.Meta(min_length=1)] | UnsetType = UNSET
    state: Annotated[str, msgspec.Meta(min_length=1)] | UnsetType = UNSET
    limits: dict[str, Any] | UnsetType = UNSET
    audit: dict[str, Any] | UnsetType = UNSET
    files: dict[str, Any] | UnsetType = UNSET
    exec: dict[str, Any] | UnsetType = UNSET
    kept: dict[str, Any] | UnsetType = UNSET
    chat: dict[str, Any] | UnsetType = UNSET
    classic: dict[str, Any] | UnsetType = UNSET


def load(
    *,
    config: Path | None = None,
    listen: Sequence[str] = (),
    state: str | None = None,
    root: str | None = None,
    classic: Mapping[Dialect, str] | None = None,
    classic_chat: str | None = None,
    classic_identity: str | None = None,
    chat_udp: str | None = None,
    environ: Mapping[str, str],
) -> Settings:
    """The settings that a daemon starts with: the arguments, over the file `config`, over the defaults.

    `listen`, `state`, `root` (that of the files), `chat_udp`, the endpoints of `classic` dialects and their identity
    are what the command line says, with paths that count from the current directory.

    Raises `ConfigError` that names the file and the field, or the argument, and what was expected; and
    `StateError` when the state directory's path cannot be made out.
    """
    settings = _from_file(config, environ=environ) if config else _defaults(environ)
    if listen:
        here = Path.cwd()
        settings = attrs.evolve(
            settings, listen=tuple(parse_endpoint(text, base=here) for text in listen)
        )
    if state is not None:
        settings = attrs.evolve(settings, state=StateDirectory.locate(state, environ=environ))
    if root is not None:
        folder = _folder(Path(root), base=Path.cwd(), what="the root of the files")
        settings = attrs.evolve(settings, files=attrs.evolve(settings.files, root=folder))
    if chat_udp is not None:
        settings = attrs.evolve(settings, chat_udp=parse_udp_endpoint(chat_udp, may_be_open=True))
    spoken = settings.classic
    if classic:
        endpoints = classic_endpoints(classic, Path.cwd(), may_be_open=spoken.allow_remote)
        spoken = attrs.evolve(spoken, endpoints={**spoken.endpoints, **endpoints})
    if classic_chat is not None:
        spoken = attrs.evolve(
            spoken, chat=parse_udp_endpoint(classic_chat, may_be_open=spoken.allow_remote)
        )
    if classic_identity is not None:
        spoken = attrs.evolve(spoken, identity=classic_identity)
    check_classic(spoken)
    return attrs.evolve(settings, classic=spoken)


def load_file(path: Path) -> Settings:
    """The settings that the file alone makes, for looking at them. Raises what `load` raises."""
    settings = _from_file(path, environ={})
    try:
        check_classic(settings.classic)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return settings


def _defaults(environ: Mapping[str, str]) -> Settings:
    return Settings(
        listen=(parse_endpoint(DEFAULT_ENDPOINT, base=Path("/")),),
        state=StateDirectory.locate(environ=environ),
    )


def _from_file(path: Path, *, environ: Mapping[str, str]) -> Settings:
    try:
        return _settings(_read(path), base=path.absolute().parent, environ=environ)
    except (ValueError, ConfigError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    # tomllib is imported late: most daemons have no file.
    import tomllib

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ValueError(f"cannot be read: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text (byte {error.start})") from error
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"is not TOML: {error}") from error


def _settings(content: dict[str, Any], *, base: Path, environ: Mapping[str, str]) -> Settings:
    """What a settings file's content means. Raises `ValueError` or `ConfigError` that names the field."""
    file = converted(content, _File, where="")
    settings = _defaults(environ)
    if file.listen is not UNSET:
        endpoints = []
        for number, text in enumerate(file.listen):
            try:
                endpoints.append(parse_endpoint(text, base=base))
            except ConfigError as error:
                raise ConfigError(f"listen[{number}]: {error}") from error
        settings = attrs.evolve(settings, listen=tuple(endpoints))
    if file.state is not UNSET and not environ.get(ENVIRONMENT_VARIABLE):
        state = StateDirectory.locate(file.state, environ=environ, base=base)
        settings = attrs.evolve(settings, state=state)
    if file.limits is not UNSET:
        limits = _from_table(file.limits, Limits, where="limits")
        settings = attrs.evolve(settings, limits=limits)
    if file.audit is not UNSET:
        audit = _from_table(file.audit, AuditSettings, where="audit")
        settings = attrs.evolve(settings, audit=audit)
    if file.files is not UNSET:
        files = _from_table(file.files, FilesSettings, where="files")
        if files.root is not None:
            files = attrs.evolve(files, root=_folder(files.root, base=base, what="files.root"))
        settings = attrs.evolve(settings, files=files)
    if file.exec is not UNSET:
        execution = _from_table(file.exec, ExecutionLimits, where="exec")
        settings = attrs.evolve(settings, exec=execution)
    if file.kept is not UNSET:
        settings = attrs.evolve(settings, kept=_from_table(file.kept, KeptLimits, where="kept"))
    if file.chat is not UNSET:
        settings = _with_chat(settings, file.chat)
    if file.classic is not UNSET:
        settings = attrs.evolve(settings, classic=classic_settings(file.classic, base))
    return settings


def _with_chat(settings: Settings, table: dict[str, Any]) -> Settings:
    """What `[chat]` says: its limits, and where it may go over UDP."""
    where = table.pop("datagrams", None)
    settings = attrs.evolve(settings, chat=_from_table(table, ChatLimits, where="chat"))
    if where is None:
        return settings
    if not isinstance(where, str):
        raise ValueError("chat.datagrams: expected udp:PORT:interface=ADDRESS")
    try:
        endpoint = parse_udp_endpoint(where, may_be_open=True)
    except ConfigError as error:
        raise ConfigError(f"chat.datagrams: {error}") from error
    return attrs.evolve(settings, chat_udp=endpoint)


def _folder(path: Path, *, base: Path, what: str) -> Path:
    """The absolute path of a folder, whether or not it is there. Raises `ConfigError` for what cannot be one."""
    try:
        path = base / path.expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{what}: cannot tell which folder {path} is: {error}") from error
    if "\0" in str(path):
        raise ConfigError(f"{what}: {str(path)!r} cannot be a folder: it has a zero byte in it")
    return Path(os.path.abspath(path))


def _from_table(content: dict[str, Any], kind: type[T], *, where: str) -> T:
    """What a table of the file means, whose fields are those of the attrs class `kind`."""
    table = converted(content, _table_for(kind), where=f"{where}.")
    given = {
        name: value for name, value in msgspec.structs.asdict(table).items() if value is not UNSET
    }
    try:
        return kind(**given)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


@cache
def _table_for(kind: type) -> type[msgspec.Struct]:
    """A table as a type: the fields of an attrs class, none of them needed, numbers each in their range."""
    fields = [
        (name, _RANGES.get(of, of) | UnsetType, UNSET) for name, of in get_type_hints(kind).items()
    ]
    return msgspec.defstruct(f"{kind.__name__}Table", fields, forbid_unknown_fields=True)
