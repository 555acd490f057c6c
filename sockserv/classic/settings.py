"""Which of the tutorial's wire formats a daemon speaks, and how: what the settings say of it, checked."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec
from msgspec import UNSET, UnsetType

from sockserv.chat.errors import BadName
from sockserv.chat.names import room_key
from sockserv.endpoints import (
    Endpoint,
    TlsEndpoint,
    UdpEndpoint,
    parse_endpoint,
    parse_udp_endpoint,
)
from sockserv.errors import ConfigError
from sockserv.tables import converted

__all__ = ["ClassicSettings", "Dialect", "check_classic", "classic_endpoints", "classic_settings"]


class Dialect(StrEnum):
    """The wire formats of the old tutorial, as the settings call them."""

    ECHO = "echo"
    EXEC_LOW = "exec_low"
    EXEC = "exec"
    PUT = "put"
    CHAT = "chat"

    @property
    def is_for_guests(self) -> bool:
        """Whether nobody has to be named on whose behalf it is spoken."""
        return self in (Dialect.ECHO, Dialect.CHAT)


_ON_STREAMS: Final = tuple(dialect for dialect in Dialect if dialect is not Dialect.CHAT)


@attrs.frozen(kw_only=True)
class ClassicSettings:
    """Which of the tutorial's wire formats are spoken, and how. Whoever reaches an endpoint needs no login there."""

    endpoints: Mapping[Dialect, Endpoint] = attrs.field(factory=dict)
    """What is listened on; without any, nothing."""

    chat: UdpEndpoint | None = None
    """Where guests may talk in `room`."""

    room: str = "lobby"

    identity: str | None = None
    """On whose behalf commands are run and files stored."""

    encoding: str = "gbk"
    """How the text of commands is written."""

    transcode: bool = False
    """Whether what commands write is translated from UTF-8 to that."""

    overwrite: bool = True
    """Whether an upload replaces a file of the same name."""

    allow_remote: bool = False
    """Whether an endpoint may be reached from other machines, although nothing protects it."""


class _ClassicTable(msgspec.Struct, forbid_unknown_fields=True):
    """What the settings file says of the dialects."""

    echo: str | UnsetType = UNSET
    exec_low: str | UnsetType = UNSET
    exec: str | UnsetType = UNSET
    put: str | UnsetType = UNSET
    chat: str | UnsetType = UNSET
    room: str | UnsetType = UNSET
    identity: str | UnsetType = UNSET
    encoding: str | UnsetType = UNSET
    transcode: bool | UnsetType = UNSET
    overwrite: bool | UnsetType = UNSET
    allow_remote: bool | UnsetType = UNSET


def classic_settings(content: dict[str, Any], base: Path) -> ClassicSettings:
    """What the table says. Raises `ValueError` or `ConfigError` that names the field."""
    table = converted(content, _ClassicTable, where="classic.")
    given = {
        name: value for name, value in msgspec.structs.asdict(table).items() if value is not UNSET
    }
    texts: dict[Dialect, str] = {
        dialect: given.pop(dialect) for dialect in _ON_STREAMS if dialect in given
    }
    if "encoding" in given:
        try:
            codecs.lookup(given["encoding"])
        except LookupError as error:
            raise ValueError(f"classic.encoding: {error}") from error
    may_be_open = given.get("allow_remote", False)
    try:
        endpoints = classic_endpoints(texts, base, may_be_open=may_be_open)
        if "chat" in given:
            given["chat"] = parse_udp_endpoint(given["chat"], may_be_open=may_be_open)
        if "room" in given:
            given["room"] = room_key(given["room"])
    except BadName as error:
        raise ConfigError(f"classic.room: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"classic.{error}") from error
    return ClassicSettings(endpoints=endpoints, **given)


def classic_endpoints(
    texts: Mapping[Dialect, str], base: Path, *, may_be_open: bool
) -> dict[Dialect, Endpoint]:
    """The endpoints that are written so; paths count from `base`. Raises `ConfigError` that names the dialect."""
    endpoints: dict[Dialect, Endpoint] = {}
    for dialect, text in texts.items():
        try:
            endpoint = parse_endpoint(text, base=base, may_be_open=may_be_open)
        except ConfigError as error:
            raise ConfigError(f"{dialect}: {error}") from error
        if isinstance(endpoint, TlsEndpoint):
            raise ConfigError(
                f"{dialect}: {text}: the tutorial's clients know no TLS; write tcp:PORT:interface=127.0.0.1"
            )
        endpoints[dialect] = endpoint
    return endpoints


def check_classic(classic: ClassicSettings) -> None:
    """Raises `ConfigError` where somebody is missing on whose behalf a dialect would be spoken."""
    for dialect in classic.endpoints:
        if not dialect.is_for_guests and classic.identity is None:
            raise ConfigError(
                f"the classic dialect {dialect} needs somebody on whose behalf it is spoken: "
                "--classic-identity NAME, or identity in [classic]"
            )
