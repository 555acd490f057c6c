"""Identities as a daemon tells of them, in words."""

from __future__ import annotations

from datetime import UTC, datetime

import attrs
import msgspec

from sockserv.errors import UnexpectedResult

__all__ = [
    "Credential",
    "Files",
    "Given",
    "Holder",
    "Person",
    "ProvedBy",
    "known_by",
    "people_in",
    "what_they_may",
]


@attrs.frozen
class Files:
    """A folder, and what may be done in it."""

    root: str
    access: str


@attrs.frozen(kw_only=True)
class Given:
    """What an identity may do, as the results of `identity.whoami` and `admin.identities` say it."""

    name: str
    permissions: tuple[str, ...] = ()
    exec: tuple[str, ...] = ()
    files: Files | None = None
    chat: tuple[str, ...] = ()


@attrs.frozen
class ProvedBy:
    """How somebody has logged in."""

    method: str
    credential: str


@attrs.frozen(kw_only=True)
class Holder(Given):
    """The result of `identity.whoami`."""

    login: ProvedBy | None = None


@attrs.frozen
class Credential:
    """One way to log in, and when it ends."""

    name: str
    expires: datetime | None = None


@attrs.frozen(kw_only=True)
class Person(Given):
    """One of those that `admin.identities` lists."""

    credentials: tuple[Credential, ...] = ()


_EVERYTHING = "*"


def what_they_may(given: Given) -> str:
    """`echo; exec uptime, /usr/bin/df; files reports (ro)`."""
    if _EVERYTHING in given.permissions:
        return "everything"
    details = {
        "exec": ", ".join(given.exec),
        "files": f"{given.files.root} ({given.files.access})" if given.files else "",
        "chat": ", ".join("all rooms" if room == "*" else room for room in given.chat),
    }
    said = (f"{name} {details.get(name, '')}".rstrip() for name in sorted(given.permissions))
    return "; ".join(said) or "nothing"


def people_in(lines: bytes) -> list[Person]:
    """Those whom `admin.identities` lists, one in a line. Raises `UnexpectedResult`."""
    decode = msgspec.json.Decoder(Person).decode
    try:
        return [decode(line) for line in lines.splitlines()]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnexpectedResult(f"the daemon's list of identities is none: {error}") from None


def known_by(person: Person, now: datetime) -> str:
    """`token:3b1f0c9a until 2026-12-01T08:30:00Z, uid:1000`: times in UTC, as in the identities' file and the audit
    log.
    """
    return ", ".join(
        f"{one.name} {_until(one.expires, now)}" if one.expires else one.name
        for one in person.credentials
    )


def _until(expires: datetime, now: datetime) -> str:
    try:
        time = expires.astimezone(UTC)
    except OverflowError:
        return f"until {expires}"  # the first or the last day of all times
    return f"{'until' if time > now else 'expired'} {time:%Y-%m-%dT%H:%M:%SZ}"
