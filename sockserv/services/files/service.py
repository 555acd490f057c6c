"""The files service: what can be asked for. What blocks is done in threads, most of it in one turn."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import attrs

from sockserv.errors import InvalidArgument
from sockserv.files.arguments import (
    NEVER,
    DigestArguments,
    GetArguments,
    ListArguments,
    MakeDirectoryArguments,
    MoveArguments,
    OfferArguments,
    OfferedArguments,
    PartialArguments,
    PathArguments,
    PutArguments,
    RemoveArguments,
)
from sockserv.files.facts import Digest, Entry, Kept, KeptOffer, Offered, Stored, Usage
from sockserv.files.names import components
from sockserv.services.api import Audit, Call, NoArguments, Service, operation
from sockserv.services.files import tree
from sockserv.services.files.download import Download, digest_file
from sockserv.services.files.folders import Folders, own_grant
from sockserv.services.files.getting import Sent, send
from sockserv.services.files.offering import Offers
from sockserv.services.files.putting import receive
from sockserv.services.files.steps import Steps, run_all
from sockserv.services.files.store import Share, Store
from sockserv.services.files.upload import Upload, kept_of
from sockserv.services.threads import InThread
from sockserv.trust.identities import FilesGrant, Identity

__all__ = ["Files", "Listed"]

A = TypeVar("A")


@attrs.frozen
class Listed:
    """How many entries a list had."""

    count: int


class Files(Service):
    """Stores and sends files, for each identity those of its folder. Making one touches nothing.

    Relative roots of grants count from the directory `root`, which is made when it is used first. `grant_of` says what
    an identity was given. `quota_bytes` is how much may be in the folder of anybody but the owner, and
    `rate_bytes_per_second` how fast each of them may send and receive; None for no bound. What is left of a broken
    upload goes after `partial_expiry_seconds`, when `sweep` is called. `identity_of` gives the identity of a name, to
    whom others may send files, `max_inbox_files` is how many of these may wait there. `seconds` never goes back,
    `now_ns` is the time of day.
    """

    def __init__(
        self,
        root: Path,
        *,
        grant_of: Callable[[Identity], FilesGrant | None] = own_grant,
        quota_bytes: int | None = None,
        rate_bytes_per_second: int | None = None,
        partial_expiry_seconds: float = 7 * 86_400.0,
        identity_of: Callable[[str], Identity | None] = lambda name: None,
        max_inbox_files: int = 1000,
        seconds: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._partial_expiry_seconds = partial_expiry_seconds
        self._store = Store(
            Folders(root, grant_of=grant_of),
            quota_bytes=quota_bytes,
            rate_bytes_per_second=rate_bytes_per_second,
            seconds=seconds,
            now_ns=now_ns,
        )
        self._offers = Offers(self._store, identity_of=identity_of, max_files=max_inbox_files)

    async def sweep(self, in_thread: InThread) -> int:
        """Remove what is left of broken uploads that nobody has gone on with; gives how many.

        To be called now and then.
        """
        return await run_all(
            in_thread, self._store.sweep(expiry_seconds=self._partial_expiry_seconds)
        )

    # Content

    @operation("files.put", args=PutArguments, permission="files")
    def put(self, call: Call[PutArguments]) -> Awaitable[Stored]:
        """Store a file: its content is the body, from an offset on."""
        args = call.args
        share = self._share(call)
        share.folder.check_adding()
        if args.overwrite != NEVER:
            share.folder.check_changing()
        if args.offset and not args.upload:
            raise InvalidArgument("an upload without a name cannot go on at an offset")
        upload = Upload(
            args=args,
            folder=share.folder,
            partial=self._partial_of(call, args.path, args.upload),
            partials=self._store.partials,
            quota=share.quota,
            digests=self._store.digests,
            digest=args.digest,
        )
        return receive(call, upload, share.pace, share.storing, self._store.gate)

    @operation("files.partial", args=PartialArguments, permission="files", audit=Audit.READS)
    async def partial(self, call: Call[PartialArguments]) -> Kept:
        """What is there of an upload that broke off."""
        args = call.args
        folder = self._share(call).folder
        folder.check_adding()
        partial = self._partial_of(call, args.path, args.upload)
        return await run_all(
            call.in_thread, kept_of(folder, args.path, partial, self._store.partials)
        )

    @operation("files.get", args=GetArguments, permission="files", audit=Audit.READS)
    async def get(self, call: Call[GetArguments]) -> Sent:
        """Send a file, or a part of it: what is said of it on stream 1, then the content."""
        share = self._share(call)
        share.folder.check_reading()
        download = Download(jail=share.folder.jail, args=call.args, digests=self._store.digests)
        return await send(call, download, share.pace)

    @operation("files.digest", args=DigestArguments, permission="files", audit=Audit.READS)
    async def digest(self, call: Call[DigestArguments]) -> Digest:
        """The digest of a file."""
        args = call.args
        folder = self._share(call).folder
        folder.check_reading()
        return await run_all(
            call.in_thread,
            digest_file(folder.jail, args.path, args.algorithm, self._store.digests),
        )

    @operation("files.offer", args=OfferArguments, permission="files")
    async def offer(self, call: Call[OfferArguments]) -> Offered:
        """Store a file for somebody else: its content is the body, from an offset on."""
        return await self._offers.take(call)

    @operation("files.offered", args=OfferedArguments, permission="files", audit=Audit.READS)
    async def offered(self, call: Call[OfferedArguments]) -> KeptOffer:
        """What is there of an offer that broke off, or whose answer has not come."""
        return await self._offers.kept(call)

    # Names

    @operation("files.stat", args=PathArguments, permission="files", audit=Audit.READS)
    def stat(self, call: Call[PathArguments]) -> Awaitable[Entry]:
        """What is told about a file or directory."""
        folder = self._share(call).folder
        folder.check_reading()
        return call.in_thread(tree.entry, folder.jail, call.args.path)

    @operation("files.list", args=ListArguments, permission="files", audit=Audit.READS)
    async def list(self, call: Call[ListArguments]) -> Listed:
        """The entries of a directory, a line of JSON each, in the order that the disk has."""
        folder = self._share(call).folder
        folder.check_reading()
        listing = tree.list_tree(folder.jail, call.args.path, recursive=call.args.recursive)
        total = 0
        async with Steps(call.in_thread, listing) as steps:
            while (some := await steps.next()) is not None:
                count, lines = some
                total += count
                await call.send(lines)
        return Listed(total)

    @operation("files.mkdir", args=MakeDirectoryArguments, permission="files")
    async def make_directory(self, call: Call[MakeDirectoryArguments]) -> None:
        """Make a directory."""
        folder = self._share(call).folder
        folder.check_changing()
        await call.in_thread(tree.make_directory, folder.jail, call.args)

    @operation("files.move", args=MoveArguments, permission="files")
    async def move(self, call: Call[MoveArguments]) -> None:
        """Give a file or directory another path."""
        share = self._share(call)
        share.folder.check_changing()
        await call.in_thread(tree.move, share.folder.jail, call.args)
        if call.args.overwrite != NEVER:
            share.quota.shrink()

    @operation("files.remove", args=RemoveArguments, permission="files")
    async def remove(self, call: Call[RemoveArguments]) -> None:
        """Remove a file or directory."""
        share = self._share(call)
        share.folder.check_changing()
        try:
            await run_all(
                call.in_thread,
                tree.remove(share.folder.jail, call.args, self._store.partials),
            )
        finally:
            share.quota.shrink()

    @operation("files.usage", permission="files", audit=Audit.READS)
    def usage(self, call: Call[NoArguments]) -> Awaitable[Usage]:
        """How much there is, and may be."""
        share = self._share(call)
        share.folder.check_reading()
        return call.in_thread(_usage, share)

    def _share(self, call: Call[A]) -> Share:
        """What the caller has."""
        share = self._store.share_of(call.identity)
        if call.identity.files is not None:
            call.note(rule=share.folder.rule)
        return share

    def _partial_of(self, call: Call[A], path: str, upload: str) -> str:
        # Without a name for the upload nothing depends on that of the file, which is looked at when it is stored.
        names = components(path) if upload else ()
        return self._store.partials.name(call.identity.name, names[-1] if names else "", upload)


def _usage(share: Share) -> Usage:
    with share.folder.jail.directory("") as root:
        system = os.fstatvfs(root)
    return Usage(
        used_bytes=share.quota.used(),
        quota_bytes=share.quota.limit_bytes,
        free_bytes=system.f_bavail * system.f_frsize,
    )
