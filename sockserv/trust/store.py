"""The identities of a daemon: what their file says, and who holds a credential.

- What is looked up is one value, `_Known`, that is replaced as a whole: any thread may look up at any time, and sees the
  file as it was at one moment.
- A file that cannot be used replaces nothing: the identities stay those of before.
- A file that somebody may be writing to at this moment is not looked at: half a file is a shorter list of identities.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import Final

import attrs

from sockserv.atomic import replace_file
from sockserv.errors import AuthenticationFailed
from sockserv.tables import FieldError
from sockserv.trust.authentication import hash_token
from sockserv.trust.grants import Grants
from sockserv.trust.identities import EVERYTHING, Identity, Login
from sockserv.trust.identities_file import (
    OWNER,
    Entry,
    IdentitiesError,
    KeptToken,
    Kind,
    checked_name,
    parse_identities,
)
from sockserv.trust.origin import PeerCertificate

__all__ = ["IdentityStore", "owner_entry"]

_MAX_FILE_BYTES = 16 * 1024 * 1024
_SETTLED_SECONDS = 0.5
"""How long a file has been left alone by whoever edits it, before it is read."""

_FIRST_CONTENT: Final = """\
# Who may use this daemon, and for what. Changes take effect within seconds; the daemon's log says what is wrong with one.
# `sockserv invite NAME` adds somebody. You, the owner, may do everything, and do not stand here.
#
# [alice]
# echo = true
# exec = ["uptime", "/usr/bin/df"]
# files = { root = "reports", access = "ro" }
# chat = ["lobby"]
# uids = [1000]
"""


@attrs.frozen
class _Held:
    """Whom a credential proves, and until when."""

    identity: Identity
    expires: datetime | None


@attrs.frozen
class _Known:
    """All that is known of identities at one moment."""

    entries: dict[str, Entry]
    by_credential: dict[tuple[Kind, str | int], _Held]
    by_login: dict[tuple[str, Login], _Held]
    expiries: list[datetime]


Signature = tuple[int, int, int, int] | None
"""What tells one content of a file from another without reading it; None where there is no file."""


def owner_entry(token: str, *, uid: int) -> Entry:
    """The owner of a daemon, who may do everything: the holder of the token, and the account."""
    return Entry(
        name=OWNER,
        grants=Grants(permissions=(EVERYTHING,)),
        tokens=(KeptToken(hash_token(token), credential="owner-token"),),
        uids=(uid,),
    )


class IdentityStore:
    """The identities of a file, and the owner.

    All methods may be called in any thread. Those that look up never wait for a disk; `refresh` and the ones that
    change the file block, and are for threads. Times are in UTC.

    Making one reads the file, and makes it if there is none; raises `IdentitiesError` when it cannot be used.
    """

    def __init__(
        self,
        path: Path,
        *,
        owner: Entry | None = None,
        file_clock: Callable[[], float] = time.time,
    ) -> None:
        """`file_clock` is the clock that times of files go by, in seconds since 1970."""
        self._path = path
        self._taken = () if owner is None else (owner,)
        self._file_clock = file_clock
        # Reading and writing take turns, so that what was read before a change never replaces what came with it.
        self._turn = threading.Lock()
        if self._signature() is None:
            with self._explained("made"):
                replace_file(path, _FIRST_CONTENT.encode())
        self._signature_read = self._signature()
        self._known = self._understand(self._read())

    # Who holds a credential

    def by_token(self, token: str, now: datetime) -> Identity | None:
        """Whose token this is; None if it is nobody's.

        Raises `AuthenticationFailed` for a token that has expired: who holds it has proved to be whom it was for.
        """
        # How long a look-up takes could tell something of the hash, and nobody gets from there to 256 random bits.
        held = self._known.by_credential.get((Kind.TOKEN, hash_token(token)))
        if held is not None and held.expires is not None and held.expires <= now:
            raise AuthenticationFailed("the token has expired: ask for a new one")
        return None if held is None else held.identity

    def by_certificate(self, certificate: PeerCertificate) -> Identity | None:
        """Whose certificate this is: by its key, or else by the names in one that a trusted authority has signed.

        Raises `AuthenticationFailed` where its names are those of several identities.
        """
        known = self._known.by_credential
        held = known.get((Kind.CERTIFICATE, certificate.pin))
        if held is not None or not certificate.is_trusted:
            return None if held is None else held.identity
        found = [known.get((Kind.CERTIFICATE_NAME, name.lower())) for name in certificate.names]
        identities = {held.identity.name: held.identity for held in found if held is not None}
        if len(identities) > 1:
            raise AuthenticationFailed(
                "the names in the certificate are those of several identities"
            )
        return next(iter(identities.values()), None)

    def by_uid(self, uid: int) -> Identity | None:
        """Whose account this is."""
        return self._identity(Kind.ACCOUNT, uid)

    def by_name(self, name: str) -> Identity | None:
        """The identity of this name, if it may come in by a password that somebody else has checked."""
        try:
            return self._identity(Kind.PASSWORD, checked_name(name))
        except FieldError:
            return None

    def current(self, identity: Identity, now: datetime) -> Identity | None:
        """What has become of somebody who is logged in; None when they, or what they came in by, are gone or expired."""
        if identity.login is None:
            return None
        held = self._known.by_login.get((identity.name, identity.login))
        if held is None or (held.expires is not None and held.expires <= now):
            return None
        return held.identity

    def entries(self) -> list[Entry]:
        """All identities: the owner, then those of the file in their order."""
        return [*self._taken, *self._known.entries.values()]

    def expires_between(self, begin: datetime, end: datetime) -> bool:
        """Whether a token expires after `begin` and not after `end`."""
        expiries = self._known.expiries
        return bisect_right(expiries, begin) < bisect_right(expiries, end)

    def _identity(self, kind: Kind, value: str | int) -> Identity | None:
        held = self._known.by_credential.get((kind, value))
        return None if held is None else held.identity

    # The file

    def refresh(self) -> bool:
        """Read the file again if it has changed; returns whether it had. Blocks.

        Raises `IdentitiesError` once for a change that cannot be used; the identities stay as they were. A change of the
        last moment is left for the next time.
        """
        with self._turn:
            signature = self._signature()
            if signature == self._signature_read or self._may_be_half_written(signature):
                return False
            # Whatever becomes of it, it has been seen.
            self._signature_read = signature
            self._known = self._understand(self._read())
            return True

    def _signature(self) -> Signature:
        with self._explained("examined"):
            try:
                status = os.lstat(self._path)
            except FileNotFoundError:
                return None
        # A change of the mode alone changes the ctime, and may be what makes the file usable.
        return status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size

    def _may_be_half_written(self, signature: Signature) -> bool:
        if signature is None:
            return False
        age_seconds = self._file_clock() - signature[0] / 1e9
        return 0 <= age_seconds < _SETTLED_SECONDS

    def _read(self) -> str:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        with (
            self._explained("read"),
            open(self._path, "rb", opener=lambda path, _: os.open(path, flags)) as file,
        ):
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise IdentitiesError(f"{self._path} is not a file")
            mode = stat.S_IMODE(status.st_mode)
            if mode & 0o077:
                raise IdentitiesError(
                    f"others can read the identities in {self._path} (mode {mode:04o}): "
                    f"close it with `chmod 600 {quote(str(self._path))}`"
                )
            content = file.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise IdentitiesError(f"{self._path} has more than {_MAX_FILE_BYTES} bytes")
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise IdentitiesError(f"{self._path.name} line {line}: is not UTF-8 text") from None

    def _understand(self, text: str) -> _Known:
        return _known(parse_identities(text, file=self._path.name, taken=self._taken), self._taken)

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Turn an `OSError` into an `IdentitiesError` that says what could not be done."""
        try:
            yield
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise IdentitiesError(f"{self._path} cannot be {what}: {reason}") from error


def _known(entries: dict[str, Entry], taken: Iterable[Entry]) -> _Known:
    by_credential = {}
    by_login = {}
    for entry in (*taken, *entries.values()):
        identity = entry.grants.identity(entry.name)
        for credential in entry.credentials():
            held = _Held(attrs.evolve(identity, login=credential.login), credential.expires)
            by_credential[credential.key] = held
            by_login[entry.name, credential.login] = held
    expiries = sorted(held.expires for held in by_login.values() if held.expires is not None)
    return _Known(entries, by_credential, by_login, expiries)
