"""Files that somebody sends to somebody else: into the receiver's folder, below `inbox`, under a name that is free.

- Nothing that is there is replaced: the second `report.pdf` becomes `report (2).pdf`.
- It is the receiver's folder that has to have room, and the sender's rate that counts.
- A sender that has not heard how it has ended asks, and does not send the same file twice.
- However long it takes to come: what either of them may do when all of it is there decides.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from threading import Lock
from typing import Any, Final

import attrs

from sockserv.errors import InvalidArgument, PermissionDenied
from sockserv.files.arguments import NEVER, OfferArguments, OfferedArguments, PutArguments
from sockserv.files.errors import (
    Changed,
    Exists,
    FilesDenied,
    FilesError,
    NoReceiver,
    NotADirectory,
    NotFound,
    QuotaExceeded,
)
from sockserv.files.facts import KeptOffer, Offered
from sockserv.files.jail import Jail
from sockserv.files.names import is_reserved
from sockserv.files.offers import numbered_name, offered_name, path_in_inbox
from sockserv.files.status import etag_of
from sockserv.services.api import Call
from sockserv.services.files.folders import Folder
from sockserv.services.files.putting import receive
from sockserv.services.files.quota import Quota
from sockserv.services.files.steps import run_all
from sockserv.services.files.store import Share, Store
from sockserv.services.files.tree import publish
from sockserv.services.files.upload import Upload, kept_of
from sockserv.trust.identities import Identity

__all__ = ["KnownOffers", "Offers"]

_MAX_KNOWN: Final = 1000
"""Of so many files it is known for a while that they have come."""

_CHAT: Final = "chat"


@attrs.frozen(kw_only=True)
class _Way:
    """From whom to whom a file goes; `partial` is what it is called until it is whole."""

    receiver: Share
    quota: Quota
    sender: Share
    path: str
    partial: str

    @property
    def key(self) -> tuple[object, ...]:
        """What no other offer has."""
        return (*self.receiver.folder.place, self.partial)


class Offers:
    """Takes files for others.

    `identity_of` gives the identity of a name, `max_files` is how many may be in an inbox.
    """

    def __init__(
        self, store: Store, *, identity_of: Callable[[str], Identity | None], max_files: int
    ) -> None:
        self._store = store
        self._identity_of = identity_of
        self._max_files = max_files
        self._known = KnownOffers(_MAX_KNOWN)
        self._publishing = Lock()

    async def take(self, call: Call[OfferArguments]) -> Offered:
        """Store the file that a call offers, and say where. Raises `PermissionDenied`, and `FilesError`."""
        args = call.args
        if args.offset and not args.upload:
            raise InvalidArgument("an upload without a name cannot go on at an offset")
        way = self._way(call, args.to, args.name, args.upload)
        upload = _OfferedUpload(
            args=PutArguments(
                path=way.path,
                size=args.size,
                upload=args.upload,
                offset=args.offset,
                parents=True,
            ),
            folder=way.receiver.folder,
            partial=way.partial,
            partials=self._store.partials,
            quota=way.quota,
            digests=self._store.digests,
            digest=args.digest,
            name=args.name,
            max_files=self._max_files,
            publishing=self._publishing,
            check_again=partial(self._check_again, call, args.to, way.receiver.folder),
        )
        with _told_to_the_sender(args.to):
            stored = await receive(
                call, upload, way.sender.pace, way.receiver.storing, self._store.gate
            )
        offered = Offered(
            size=stored.size,
            etag=stored.etag,
            digest=stored.digest,
            path=path_in_inbox(upload.taken_name),
        )
        call.note(path=offered.path, size=offered.size, digest=offered.digest)
        if args.upload:
            self._known.add(way.key, offered)
        return offered

    async def kept(self, call: Call[OfferedArguments]) -> KeptOffer:
        """What is there of an offer. Raises what `take` raises at its beginning."""
        args = call.args
        way = self._way(call, args.to, args.name, args.upload)
        jail = way.receiver.folder.jail
        known = self._known.get(way.key)
        with _told_to_the_sender(args.to):
            if known is not None and await call.in_thread(_is_there, jail, known):
                return KeptOffer(offset=known.size, digest=known.digest, offered=known)
            kept = await run_all(
                call.in_thread,
                kept_of(way.receiver.folder, way.path, way.partial, self._store.partials),
            )
        return KeptOffer(offset=kept.offset, digest=kept.digest)

    def _way(self, call: Call[Any], to: str, name: str, upload: str) -> _Way:
        """Whether the caller may send a file of this name to somebody, and what it needs."""
        sender = self._store.share_of(call.identity)
        sender.folder.check_adding()
        _check_sender(call.identity, to)
        path = path_in_inbox(offered_name(name))
        identity = self._receiver(to)
        receiver = self._store.share_of(identity)
        if call.identity.files is not None:
            call.note(rule=f"{sender.folder.rule}, {_CHAT}")
        return _Way(
            receiver=receiver,
            quota=self._store.inbox_quota_of(identity),
            sender=sender,
            path=path,
            partial=self._store.partials.name(call.identity.name, name, upload),
        )

    def _receiver(self, to: str) -> Identity:
        """Somebody who takes files. Raises `NoReceiver`."""
        identity = self._identity_of(to)
        if identity is None or not identity.may(_CHAT):
            raise NoReceiver(f"there is nobody called {to} to send a file to", details={"to": to})
        try:
            folder = self._store.folder_of(identity)
        except FilesDenied:
            raise _takes_none(to) from None
        if not folder.has_inbox:
            raise _takes_none(to)
        return identity

    def _check_again(self, call: Call[Any], to: str, folder: Folder) -> None:
        """Whether a file may still come into this folder. Raises what `take` raises at its beginning, and `Changed`."""
        _check_sender(call.identity, to)
        if self._store.folder_of(self._receiver(to)).place != folder.place:
            raise Changed(f"{to} has another folder by now: send it again", details={"to": to})


class KnownOffers:
    """The last `max_count` files that have come, each by what no other offer has."""

    def __init__(self, max_count: int) -> None:
        self._max_count = max_count
        self._offers: OrderedDict[tuple[object, ...], Offered] = OrderedDict()

    def add(self, key: tuple[object, ...], offered: Offered) -> None:
        """One has come; in the place of the oldest, if there are too many."""
        self._offers[key] = offered
        self._offers.move_to_end(key)
        if len(self._offers) > self._max_count:
            self._offers.popitem(last=False)

    def get(self, key: tuple[object, ...]) -> Offered | None:
        """What has come by this, as far as it is still known."""
        return self._offers.get(key)


@attrs.define(kw_only=True)
class _OfferedUpload(Upload):
    """A file on its way into an inbox.

    `publishing` is held by who takes a name in one; `taken_name` is the one taken. `check_again` raises why it may not
    come any more; it is called in a thread.
    """

    name: str
    max_files: int
    publishing: Lock
    check_again: Callable[[], None]
    taken_name: str = ""

    def _look_at_target(self, name: str, parent: int) -> os.stat_result | None:
        unfinished = self._unfinished(parent)
        if len(unfinished) >= self.max_files:
            self._remove_oldest(unfinished, parent)
        return None

    def _take_name(self, name: str, parent: int) -> None:
        self.check_again()
        with self.publishing:
            self._unfinished(parent)
            for number in range(1, self.max_files + 2):
                self.taken_name = numbered_name(self.name, number)
                try:
                    publish(
                        self.partial,
                        self.taken_name,
                        self.args.path,
                        source_fd=parent,
                        target_fd=parent,
                        overwrite=NEVER,
                    )
                except Exists:
                    continue
                return
        raise QuotaExceeded(f"{self.args.path!r}: all names like this one are taken")

    def _unfinished(self, inbox: int) -> list[str]:
        """The other unfinished files in an inbox. Raises `QuotaExceeded` where there are too many that are whole."""
        unfinished = []
        whole = 0
        with os.scandir(inbox) as entries:
            for entry in entries:
                if not is_reserved(entry.name):
                    whole += 1
                    if whole >= self.max_files:
                        raise QuotaExceeded(
                            f"there are {self.max_files} files in the inbox, which is the limit"
                        )
                elif entry.name != self.partial:
                    unfinished.append(entry.name)
        return unfinished

    def _remove_oldest(self, unfinished: Sequence[str], inbox: int) -> None:
        """Remove what has been left alone for longest: nobody keeps others out by beginnings, which the receiver does
        not see.

        Raises `QuotaExceeded` when all of them are being sent at this moment.
        """
        dated = []
        for name in unfinished:
            with suppress(FileNotFoundError):
                status = os.stat(name, dir_fd=inbox, follow_symlinks=False)
                dated.append((status.st_mtime_ns, name))
        for _, name in sorted(dated):
            if self.partials.remove_idle(name, inbox):
                self.quota.shrink()
                return
        raise QuotaExceeded("as many files as may be there are being sent at this moment")


@contextmanager
def _told_to_the_sender(to: str) -> Iterator[None]:
    """Say what is wrong with the folder of somebody without what the sender has no business with."""
    try:
        yield
    except QuotaExceeded as error:
        # Nor with how much is used.
        raise QuotaExceeded(f"{to} has no room for it", details={"to": to}) from error
    except (NotFound, NotADirectory) as error:
        raise _takes_none(to) from error


def _check_sender(identity: Identity, to: str) -> None:
    if not identity.may(_CHAT):
        raise PermissionDenied(
            "to send somebody a file you need the permission to chat", details={"to": to}
        )


def _takes_none(to: str) -> FilesError:
    return NoReceiver(f"{to} has no folder here that files could come into", details={"to": to})


def _is_there(jail: Jail, offered: Offered) -> bool:
    try:
        return etag_of(jail.status(offered.path)) == offered.etag
    except FilesError:
        return False
