"""Who may use the daemon, for those who decide it, and for everybody about themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from math import ceil
from typing import Any, Final, TypeVar

import attrs
import msgspec
from msgspec import UNSET
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockserv.errors import CallError, InvalidArgument
from sockserv.services.api import Audit, Call, NoArguments, Service, operation
from sockserv.tables import FieldError
from sockserv.trust.authentication import hash_token
from sockserv.trust.edited_file import EditedFileError, EditedFilePathError
from sockserv.trust.grants import Grants, GrantsTable
from sockserv.trust.identities import Identity
from sockserv.trust.identities_file import (
    OWNER,
    Entry,
    KeptToken,
    normal_name,
)
from sockserv.trust.store import ADMIN, IdentityStore

__all__ = ["Admin", "IdentitiesUnusable", "Reachable"]

T = TypeVar("T")

_UNUSABLE: Final = "the identities file cannot be used; the daemon's log says why"
_MAX_EXPIRES_SECONDS: Final = 100 * 365 * 86_400


class IdentitiesUnusable(CallError):
    """The identities file cannot be read or written: nothing was changed."""

    code = "identities-unusable"


@attrs.frozen
class Reachable:
    """Where the daemon can be reached: its URLs, the best one first, and the pin of its key if it speaks TLS."""

    urls: tuple[str, ...] = ()
    pin: str | None = None


@attrs.frozen
class FilesArguments:
    """A folder, and what may be done in it: `ro`, `rw` or `drop`."""

    root: str
    access: str


@attrs.frozen
class InviteArguments:
    """Whom to invite, for what (see `Grants`), and for how long; None: until revoked."""

    name: str
    echo: bool = False
    exec: tuple[str, ...] = ()
    files: FilesArguments | None = None
    chat: tuple[str, ...] = ()
    admin: bool = False
    permissions: tuple[str, ...] = ()
    expires_seconds: float | None = None


@attrs.frozen
class TokenArguments:
    """Whom to give one more token, and for how long; None: until revoked."""

    name: str
    expires_seconds: float | None = None


@attrs.frozen
class NameArguments:
    """Whom something is about."""

    name: str


@attrs.frozen
class ReplaceArguments:
    """The SHA-256, in small hexadecimal digits, of the token that is to be good from now on."""

    sha256: str = attrs.field(repr=False, metadata={"secret": True})


@attrs.frozen
class Invitation:
    """What somebody needs to log in."""

    name: str
    token: str = attrs.field(repr=False, metadata={"secret": True})
    urls: tuple[str, ...]
    pin: str | None


class Admin(Service):
    """The identities of a store, over the wire.

    `reachable` says where the daemon can be reached; `on_change` is called when the identities have changed.
    `in_thread` calls a blocking function in a thread: one that other calls do not keep busy, or nobody could be revoked
    then.
    """

    _log = Logger()

    def __init__(
        self,
        store: IdentityStore,
        *,
        reachable: Callable[[], Reachable],
        on_change: Callable[[], None],
        in_thread: Callable[..., Awaitable[Any]],
    ) -> None:
        self._store = store
        self._in_thread = in_thread
        self._reachable = reachable
        self._on_change = on_change
        self._turns = DeferredLock()

    @operation("admin.identities", permission=ADMIN, audit=Audit.READS)
    async def list_identities(self, call: Call[NoArguments]) -> None:
        """Everybody but the owner: what they may do, and the names of what proves them.

        They are the body, a line of JSON for each: a result has to fit into one header.
        """

        def lines() -> bytes:
            entries = [entry for entry in self._store.entries() if entry.name != OWNER]
            return b"".join(msgspec.json.encode(_described(entry)) + b"\n" for entry in entries)

        await call.send(await call.in_thread(lines))

    @operation("admin.invite", args=InviteArguments, permission=ADMIN)
    async def invite(self, call: Call[InviteArguments]) -> Invitation:
        """Add an identity, and give a token for it. Raises `InvalidArgument` for a name that is there already."""
        args = call.args
        grants, expires = _grants(args), _expiry(call, args.expires_seconds)
        token = await self._change(
            call, lambda by: self._store.invite(args.name, grants, expires=expires, by=by)
        )
        return self._invitation(call, args.name, token)

    @operation("admin.add-token", args=TokenArguments, permission=ADMIN)
    async def add_token(self, call: Call[TokenArguments]) -> Invitation:
        """Give one more token for an identity. Raises `InvalidArgument` when there is nobody of this name."""
        args = call.args
        expires = _expiry(call, args.expires_seconds)
        token = await self._change(
            call, lambda by: self._store.add_token(args.name, expires=expires, by=by)
        )
        return self._invitation(call, args.name, token)

    @operation("admin.revoke", args=NameArguments, permission=ADMIN)
    async def revoke(self, call: Call[NameArguments]) -> None:
        """Remove an identity; what it does at this moment is ended. Raises `InvalidArgument` as `admin.add-token`."""
        name = call.args.name
        await self._change(call, lambda by: self._store.revoke(name, by=by))

    @operation("identity.whoami", permission=None, audit=Audit.NEVER)
    def whoami(self, call: Call[NoArguments]) -> dict[str, Any]:
        """Who the caller is, what they may do, and by what they have logged in."""
        identity = call.identity
        return {**_permitted(identity), "login": identity.login}

    @operation("identity.replace-token", args=ReplaceArguments, permission=None)
    async def replace_token(self, call: Call[ReplaceArguments]) -> None:
        """Have another token instead of the one that this connection has logged in with; it expires when that does.

        Other connections that have logged in with the old one are ended. Raises `PermissionDenied` for a login that is
        by no token of the identities file, and `InvalidArgument` for what cannot be a new one.
        """
        sha256 = call.args.sha256

        def become(replaced: Identity) -> None:
            # The connection has its new login before anybody asks again who it is. What it may do is left as it was
            # until then: the file may say less by now, and the calls end that need it when that is noticed, here or
            # never.
            call.become(attrs.evolve(call.identity, login=replaced.login))

        replaced = await self._change(
            call, lambda identity: self._store.replace_token(identity, sha256), then=become
        )
        assert replaced.login is not None  # it has just got one
        call.note(credential=replaced.login.credential)

    async def _change(
        self,
        call: Call[Any],
        change: Callable[[Identity], T],
        *,
        then: Callable[[T], None] = lambda result: None,
    ) -> T:
        """Change the identities in a thread, and let that take effect. Raises only what a caller may see.

        `change` is given who the caller is when its turn has come.
        """
        # However many calls there are, one thread is enough for what has to happen one after the other.
        await self._turns.acquire()
        told: Deferred[T] = Deferred()

        def end(result: T | Failure) -> None:
            # A caller that gives up is told nothing any more, but what was begun takes effect.
            self._turns.release()
            told.callback(result)

        Deferred.fromCoroutine(self._work(call, change, then)).addBoth(end)
        return await told

    async def _work(
        self, call: Call[Any], change: Callable[[Identity], T], then: Callable[[T], None]
    ) -> T:
        try:
            result: T = await self._in_thread(change, call.identity)
        except EditedFilePathError as error:
            self._log.error("{error}", error=error)
            raise IdentitiesUnusable(_UNUSABLE) from error
        except EditedFileError as error:
            # What is wrong with it has words of the file in it, which are not for everybody.
            if not call.identity.may(ADMIN):
                raise IdentitiesUnusable(_UNUSABLE) from error
            raise IdentitiesUnusable(str(error)) from error
        then(result)
        self._on_change()
        return result

    def _invitation(self, call: Call[Any], name: str, token: str) -> Invitation:
        call.note(credential=KeptToken(hash_token(token)).credential)
        reachable = self._reachable()
        return Invitation(normal_name(name), token, reachable.urls, reachable.pin)


def _grants(args: InviteArguments) -> Grants:
    table = GrantsTable(
        echo=args.echo,
        exec=args.exec,
        files=UNSET if args.files is None else attrs.asdict(args.files),
        chat=args.chat,
        admin=args.admin,
        permissions=args.permissions,
    )
    try:
        return Grants.from_table(table)
    except FieldError as error:
        raise InvalidArgument(str(error)) from None


def _expiry(call: Call[Any], seconds: float | None) -> datetime | None:
    """When what is given now expires, to the second."""
    if seconds is None:
        return None
    if not 0 < seconds <= _MAX_EXPIRES_SECONDS:
        raise InvalidArgument(
            f"expires_seconds: expected more than 0, at most {_MAX_EXPIRES_SECONDS}"
        )
    return datetime.fromtimestamp(ceil(call.clock.seconds() + seconds), UTC)


def _described(entry: Entry) -> dict[str, Any]:
    credentials = [
        {"name": credential.login.credential, "expires": credential.expires}
        for credential in entry.credentials()
    ]
    return {**_permitted(entry.grants.identity(entry.name)), "credentials": credentials}


def _permitted(identity: Identity) -> dict[str, Any]:
    files = identity.files
    return {
        "name": identity.name,
        "permissions": sorted(identity.permissions),
        "exec": identity.exec,
        "files": None if files is None else {**attrs.asdict(files), "inbox": files.has_inbox},
        "chat": identity.chat,
    }
