"""The identities of a daemon: what their file says, and who holds a credential.

- What is looked up is one value, `_Known`, that is replaced as a whole: any thread may look up at any time, and sees
  the file as it was at one moment.
- A file that cannot be used replaces nothing: the identities stay those of before.
- What changes the text of the file is imported when somebody changes it: a daemon starts sooner without.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Final

import attrs

from sockserv.errors import AuthenticationFailed, InvalidArgument, PermissionDenied
from sockserv.tables import FieldError
from sockserv.trust.authentication import hash_token
from sockserv.trust.edited_file import EditedFile, EditedFileError
from sockserv.trust.grants import Grants
from sockserv.trust.identities import EVERYTHING, Identity, Login
from sockserv.trust.identities_file import (
    MAX_NAME_CHARACTERS,
    OWNER,
    Entry,
    KeptToken,
    Kind,
    checked_name,
    is_sha256,
    normal_name,
    parse_identities,
)
from sockserv.trust.origin import PeerCertificate

__all__ = ["ADMIN", "CLASSIC", "GUEST", "IdentityStore", "owner_entry"]

ADMIN: Final = "admin"
"""The permission to change the identities."""

CLASSIC: Final = "classic"
"""How somebody is logged in by an endpoint alone."""
GUEST: Final = "guest"
"""The same, for whom nobody was named: somebody who stands in no file, and has what the endpoint gives to everybody."""

_TOKEN_BYTES = 32
_BLINDING_KEY: Final = secrets.token_bytes(32)

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
    by_credential: dict[tuple[Kind, str | int], _Held] = attrs.field(repr=False)
    by_login: dict[tuple[str, Login], _Held]
    expiries: list[datetime]
    revision: int


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

    Those have a parameter `by`: who asks for the change. Somebody who may not, as the file says right before it is
    written, is refused with `PermissionDenied`: what was begun by somebody who is revoked meanwhile comes too late.

    Making one reads the file, and makes it if there is none; raises `EditedFileError` when it cannot be used.
    """

    def __init__(
        self,
        path: Path,
        *,
        owner: Entry | None = None,
        file_clock: Callable[[], float] = time.time,
    ) -> None:
        """`file_clock` is the clock that times of files go by, in seconds since 1970."""
        self._file = EditedFile(path, clock=file_clock)
        self._taken = () if owner is None else (owner,)
        # Reading and writing take turns, so that what was read before a change never replaces what came with it.
        self._turn = threading.Lock()
        self._revisions = count(1)
        self._known = self._understand(self._file.first_text(_FIRST_CONTENT))

    # Who holds a credential

    def by_token(self, token: str, now: datetime) -> Identity | None:
        """Whose token this is; None if it is nobody's.

        Raises `AuthenticationFailed` for a token that has expired: who holds it has proved to be whom it was for.
        """
        held = self._known.by_credential.get((Kind.TOKEN, _blinded(hash_token(token))))
        if held is not None and held.expires is not None and held.expires <= now:
            raise AuthenticationFailed("the token has expired")
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

    def named(self, name: str, login: Login | None = None) -> Identity | None:
        """The identity of this name, to ask what it may; `login` is what it is to have come in by."""
        for owner in self._taken:
            if owner.name == name:
                return owner.grants.identity(name, login)
        entry = self._known.entries.get(name)
        return None if entry is None else entry.grants.identity(name, login)

    def behind(self, name: str, dialect: str) -> Identity | None:
        """The identity of this name, for whoever speaks a dialect that knows no logins, but was set to be spoken by
        them.
        """
        return self.named(name, Login(CLASSIC, dialect))

    def current(self, identity: Identity, now: datetime) -> Identity | None:
        """What has become of somebody who is logged in; None when they, or what they came in by,
        are gone or expired.
        """
        if identity.login is None:
            return None
        if identity.login.method == GUEST:
            return identity
        if identity.login.method == CLASSIC:
            return self.behind(identity.name, identity.login.credential)
        held = self._known.by_login.get((identity.name, identity.login))
        if held is None or (held.expires is not None and held.expires <= now):
            return None
        return held.identity

    def entries(self) -> list[Entry]:
        """All identities: the owner, then those of the file in their order."""
        return [*self._taken, *self._known.entries.values()]

    @property
    def revision(self) -> int:
        """A number that grows with every change of the identities."""
        return self._known.revision

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

        Raises `EditedFileError` once for a change that cannot be used, and each time for one that the system does not
        let us read; the identities stay as they were. A change of the last moment is left for the next time.
        """
        with self._turn:
            text = self._file.changed_text()
            if text is None:
                return False
            self._known = self._understand(text)
            return True

    def invite(
        self,
        name: str,
        grants: Grants,
        *,
        expires: datetime | None = None,
        by: Identity | None = None,
    ) -> str:
        """Add an identity, and make a token for it, which is returned and kept nowhere. Blocks.

        Raises `InvalidArgument` when the name is not possible or there is somebody of this name, and `EditedFileError`
        when the file cannot be used or written.
        """
        token, kept = _new_token(expires)

        def add(text: str, entries: dict[str, Entry]) -> str:
            try:
                new = Entry(name=checked_name(name), grants=grants, tokens=(kept,))
            except FieldError as error:
                raise InvalidArgument(f"name: {error.problem}") from None
            if new.name in entries:
                raise InvalidArgument(
                    f"there is somebody whose name is {new.name} already",
                    details={"taken": new.name},
                )
            entries[new.name] = new
            from sockserv.trust.identities_edits import with_entry

            return with_entry(text, new)

        self._edit(add, by=by)
        return token

    def add_token(
        self, name: str, *, expires: datetime | None = None, by: Identity | None = None
    ) -> str:
        """Make one more token for an identity, which is returned and kept nowhere. Blocks.

        Raises `InvalidArgument` when there is nobody of this name, and what `invite` raises.
        """
        token, kept = _new_token(expires)

        def add(text: str, entries: dict[str, Entry]) -> str:
            entry = _entry_of(name, entries)
            entries[entry.name] = attrs.evolve(entry, tokens=(*entry.tokens, kept))
            from sockserv.trust.identities_edits import with_token

            return with_token(text, entry.name, kept)

        self._edit(add, by=by)
        return token

    def revoke(self, name: str, *, by: Identity | None = None) -> None:
        """Remove an identity with all that proves it. Blocks. Raises what `add_token` raises."""

        def remove(text: str, entries: dict[str, Entry]) -> str:
            entry = _entry_of(name, entries)
            del entries[entry.name]
            from sockserv.trust.identities_edits import without_entry

            return without_entry(text, entry.name)

        self._edit(remove, by=by)

    def replace_token(self, identity: Identity, sha256: str) -> Identity:
        """Have another token, by its hash, in the place of the one that somebody has logged in with. Blocks.

        It expires when the old one did. Returns who they are with a login by the new one. Raises `InvalidArgument` for
        what is no hash, or that of a token which is there already; `PermissionDenied` when they did not log in by a
        token that stands in the file, or it has gone; and `EditedFileError`.
        """
        if not is_sha256(sha256):
            raise InvalidArgument("sha256: expected 64 hexadecimal digits, small ones")
        credential = identity.login.credential if identity.login else ""
        login = Login("token", KeptToken(sha256).credential)

        def replace(text: str, entries: dict[str, Entry]) -> str:
            entry = entries.get(identity.name)
            tokens = {token.credential: token for token in entry.tokens} if entry else {}
            if entry is None or credential not in tokens:
                raise PermissionDenied("no token that can be replaced is what logged in here")
            everybodys = (
                token.sha256 for each in (*self._taken, *entries.values()) for token in each.tokens
            )
            # Nobody learns more of the tokens of others than that theirs will not do.
            if sha256 in everybodys or login.credential in tokens:
                raise InvalidArgument("sha256: make another token")
            old = tokens[credential]
            tokens[credential] = attrs.evolve(KeptToken(sha256), expires=old.expires)
            entries[entry.name] = attrs.evolve(entry, tokens=tuple(tokens.values()))
            from sockserv.trust.identities_edits import with_replaced_token

            return with_replaced_token(text, entry.name, old.sha256, sha256)

        return self._edit(replace).by_login[identity.name, login].identity

    def _edit(
        self, change: Callable[[str, dict[str, Entry]], str], *, by: Identity | None = None
    ) -> _Known:
        """Write what `change` makes of the text, and return what is known then.

        `change` also makes of the entries what the text has to mean.
        """
        with self._turn, self._file.locked():
            signature = self._file.signature()
            if signature != self._file.seen and not self._file.is_settled(signature):
                raise EditedFileError(f"{self._file.path.name} is being edited: try again")
            text = self._file.read()
            entries = self._parse(text)
            if by is not None:
                self._check_admin(by, entries)
            text = change(text, entries)
            known = self._understand(text)
            if list(known.entries.items()) != list(entries.items()):
                raise EditedFileError(
                    f"{self._file.path.name} is written in a way that only a person can change: edit it by hand"
                )
            self._file.write(text, instead_of=signature)
            self._known = known
            return known

    def _check_admin(self, by: Identity, entries: dict[str, Entry]) -> None:
        """Raises `PermissionDenied` for who is no admin now, by the credential that they have come in by."""
        entry = {each.name: each for each in self._taken}.get(by.name) or entries.get(by.name)
        logins = [] if entry is None else [each.login for each in entry.credentials()]
        if entry is None or by.login not in logins or not entry.grants.identity(by.name).may(ADMIN):
            raise PermissionDenied(
                f"{by.name} may not change the identities any more", details={"permission": ADMIN}
            )

    def _understand(self, text: str) -> _Known:
        return _known(self._parse(text), self._taken, next(self._revisions))

    def _parse(self, text: str) -> dict[str, Entry]:
        return parse_identities(text, file=self._file.path.name, taken=self._taken)


def _new_token(expires: datetime | None) -> tuple[str, KeptToken]:
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    return token, KeptToken(hash_token(token), expires)


def _entry_of(name: str, entries: dict[str, Entry]) -> Entry:
    entry = entries.get(normal_name(name))
    if entry is None:
        shown = name[: MAX_NAME_CHARACTERS + 1]
        raise InvalidArgument(f"there is nobody whose name is {shown!r}")
    return entry


def _blinded(sha256: str | int) -> str:
    """What a token is looked up by.

    A dictionary compares strings up to where they differ, which takes a time. Of digests whose key nobody knows that
    time tells nothing: the tokens themselves are compared in constant time.
    """
    return hmac.digest(_BLINDING_KEY, str(sha256).encode(), "sha256").hex()


def _known(entries: dict[str, Entry], taken: Iterable[Entry], revision: int) -> _Known:
    by_credential = {}
    by_login = {}
    for entry in (*taken, *entries.values()):
        identity = entry.grants.identity(entry.name)
        for credential in entry.credentials():
            held = _Held(attrs.evolve(identity, login=credential.login), credential.expires)
            kind, value = credential.key
            by_credential[kind, _blinded(value) if kind is Kind.TOKEN else value] = held
            by_login[entry.name, credential.login] = held
    expiries = sorted(held.expires for held in by_login.values() if held.expires is not None)
    return _Known(entries, by_credential, by_login, expiries, revision)
