"""The files of a server, for programs: `client.files`."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from twisted.internet.defer import Deferred

from sockserv.client.files.errors import LocalFileError, naming
from sockserv.client.files.execution import Execution
from sockserv.client.files.fetching import Fetcher, mismatch
from sockserv.client.files.listing import Listing, list_all
from sockserv.client.files.local import Content, digest_of_bytes, list_folder
from sockserv.client.files.offering import offer
from sockserv.client.files.plan import (
    Action,
    Direction,
    Listed,
    Place,
    Plan,
    Step,
    compare,
)
from sockserv.client.files.progress import Progress, Summary, ignore
from sockserv.client.files.sending import Sender
from sockserv.files.arguments import ALWAYS, NEVER
from sockserv.files.errors import NotAFile, NotFound
from sockserv.files.facts import Digest, Entry, FileType, Offered, Stored, Usage
from sockserv.files.status import entry_of

if TYPE_CHECKING:
    from sockserv.client.client import Client
    from sockserv.net.threads import InThread

__all__ = ["Files"]

DEFAULT_MAX_BYTES: Final = 16 * 1024 * 1024

_NOWHERE: Final = Place(Path())
"""The place of what is no file here."""

AnyPath: TypeAlias = str | os.PathLike[str]


class Files:
    """The files that the identity may use at the server; `client.files` makes it.

    Paths at the server are relative to the folder of the identity, with "/" between names; "" is the folder itself.
    All methods fail with the errors of `sockserv.files.errors`, with those of `sockserv.client.files.errors` for what
    is wrong here, with `PermissionDenied`, and with `ConnectionEnded`. All Deferreds can be cancelled: what has been
    transferred of a large file stays, unseen, and the same method called again goes on from there.

    What many have in common: `on_progress` is told how far it has come; `preserve` keeps modes and times; `resume`
    is to be False where what was left by an earlier try should not be used; `overwrite` says that what is there may
    be replaced. Where it may not, and the very same file is there already, that is a success.
    """

    def __init__(self, client: Client, in_thread: InThread) -> None:
        self._client = client
        self._in_thread = in_thread

    # Whole files and trees

    def put(
        self,
        local: AnyPath,
        path: str,
        *,
        overwrite: bool = False,
        resume: bool = True,
        preserve: bool = False,
        on_progress: Progress = ignore,
    ) -> Deferred[Summary]:
        """Send the file or the folder at `local`, to be at `path`; folders on the way there are made.

        A file replaces no other one unless `overwrite` allows it. A folder is sent with all that is in it, and added
        to what is there.
        """

        async def put() -> Summary:
            plan = await self.plan_put(local, path, overwrite=overwrite)
            return await self.carry_out(
                plan, resume=resume, preserve=preserve, on_progress=on_progress
            )

        return Deferred.fromCoroutine(put())

    def get(
        self,
        path: str,
        local: AnyPath,
        *,
        overwrite: bool = False,
        resume: bool = True,
        preserve: bool = False,
        on_progress: Progress = ignore,
    ) -> Deferred[Summary]:
        """Fetch the file or the directory at `path`, to be at `local`.

        Below `local` no link is followed, and no name that the server sends leads anywhere else.
        """

        async def get() -> Summary:
            plan = await self.plan_get(path, local, overwrite=overwrite)
            return await self.carry_out(
                plan, resume=resume, preserve=preserve, on_progress=on_progress
            )

        return Deferred.fromCoroutine(get())

    def offer(
        self,
        local: AnyPath,
        *,
        to: str,
        name: str | None = None,
        resume: bool = True,
        on_progress: Progress = ignore,
    ) -> Deferred[Offered]:
        """Send the file at `local` to the identity `to`, into its inbox; fires with where it is there.

        It is called `name` there, None: as here, with a number if that is taken. Nobody is told: say it by
        `client.chat`. The very same file is not sent again before it was taken out of the inbox. Fails with
        `NoReceiver` where `to` takes no files, and `RefusedName` for a name that cannot be read.
        """
        sending = offer(
            self._client,
            self._in_thread,
            Path(local),
            to,
            name,
            resume=resume,
            progress=on_progress,
        )
        return Deferred.fromCoroutine(sending)

    def sync(
        self,
        local: AnyPath,
        path: str,
        *,
        direction: Direction = Direction.PUSH,
        delete: bool = False,
        on_progress: Progress = ignore,
    ) -> Deferred[Summary]:
        """Make the directory `path` like the folder `local` (`PUSH`), or the folder like the directory (`PULL`).

        Only what differs travels, with modes and times. With `delete`, what only the other side has is removed, after
        all else has gone well.
        """

        async def sync() -> Summary:
            plan = await self.plan_sync(local, path, direction=direction, delete=delete)
            return await self.carry_out(plan, preserve=True, on_progress=on_progress)

        return Deferred.fromCoroutine(sync())

    # The same in two moves: what would be done, and doing it

    def plan_put(self, local: AnyPath, path: str, *, overwrite: bool = False) -> Deferred[Plan]:
        """What `put` would do."""
        return Deferred.fromCoroutine(self._plan_put(Path(local), path, overwrite=overwrite))

    async def _plan_put(self, local: Path, path: str, *, overwrite: bool) -> Plan:
        how = ALWAYS if overwrite else NEVER
        entry = await self._in_thread(_look_at, local)
        if entry.type is not FileType.DIRECTORY:
            place = Place(local.parent, (local.name,), is_named=True)
            return Plan([_step(Action.PUT, path, place, entry, how)])
        here = await self._in_thread(list_folder, local)
        plan = compare(
            here, Listed({}), direction=Direction.PUSH, place=Place(local), root=path, overwrite=how
        )
        if not here.entries and path:
            plan.steps.append(_new_folder(path, local, is_here=False))
        return plan

    def plan_get(
        self,
        path: str,
        local: AnyPath,
        *,
        overwrite: bool = False,
        entry: Entry | None = None,
    ) -> Deferred[Plan]:
        """What `get` would do; `entry` is what `stat` has said of `path`, if that is known."""
        return Deferred.fromCoroutine(
            self._plan_get(path, Path(local), overwrite=overwrite, entry=entry)
        )

    async def _plan_get(
        self, path: str, local: Path, *, overwrite: bool, entry: Entry | None
    ) -> Plan:
        how = ALWAYS if overwrite else NEVER
        entry = entry or await self.stat(path)
        if entry.type is FileType.FILE:
            place = Place(local.parent, (local.name,), is_named=True)
            return Plan([_step(Action.GET, path, place, entry, how)])
        if entry.type is FileType.OTHER:
            raise NotAFile(f"{path!r} is neither a file nor a directory", details={"path": path})
        there = await list_all(self._client, path)
        plan = compare(
            Listed({}),
            there,
            direction=Direction.PULL,
            place=Place(local),
            root=path,
            overwrite=how,
        )
        if not there.entries:
            plan.steps.append(_new_folder(path, local, is_here=True))
        return plan

    def plan_sync(
        self,
        local: AnyPath,
        path: str,
        *,
        direction: Direction = Direction.PUSH,
        delete: bool = False,
    ) -> Deferred[Plan]:
        """What `sync` would do; changes nothing."""
        return Deferred.fromCoroutine(
            self._plan_sync(Path(local), path, direction=direction, delete=delete)
        )

    async def _plan_sync(
        self, local: Path, path: str, *, direction: Direction, delete: bool
    ) -> Plan:
        is_push = direction is Direction.PUSH
        here = await self._in_thread(_list_here, local, not is_push)
        try:
            there = await list_all(self._client, path)
        except NotFound:
            if not is_push:
                raise
            there = Listed({})
        plan = compare(
            here, there, direction=direction, place=Place(local), root=path, delete=delete
        )
        return await self._execution(ignore, resume=True, preserve=True).settle(plan)

    def carry_out(
        self,
        plan: Plan,
        *,
        resume: bool = True,
        preserve: bool = False,
        on_progress: Progress = ignore,
    ) -> Deferred[Summary]:
        """Do what is planned, several files at a time.

        What goes wrong with one file does not stop the others: at the end that is `Incomplete`, or the error itself
        if there was only one step. A full disk or an exhausted quota stops everything.
        """
        return Deferred.fromCoroutine(
            self._execution(on_progress, resume=resume, preserve=preserve).run(plan)
        )

    def _execution(self, progress: Progress, *, resume: bool, preserve: bool) -> Execution:
        return Execution(self._client, self._in_thread, progress, resume=resume, preserve=preserve)

    # Content that is no file here

    def write(self, path: str, content: bytes, *, overwrite: bool = False) -> Deferred[Stored]:
        """Put `content`, of some megabytes at most, at `path`."""
        step = Step(
            Action.PUT, path, _NOWHERE, len(content), overwrite=ALWAYS if overwrite else NEVER
        )
        whole = Content(content, digest_of_bytes(content), 0, 0)
        return Deferred.fromCoroutine(self._sender(ignore).send_small(step, whole))

    def put_stream(
        self,
        read: Callable[[], Awaitable[bytes]],
        path: str,
        *,
        overwrite: bool = False,
        on_progress: Progress = ignore,
    ) -> Deferred[Stored]:
        """Put what `read` gives, piece by piece until it gives nothing, at `path`; it cannot be resumed."""
        step = Step(Action.PUT, path, _NOWHERE, overwrite=ALWAYS if overwrite else NEVER)
        return Deferred.fromCoroutine(self._sender(on_progress).send_stream(step, read))

    def read(self, path: str, *, max_bytes: int = DEFAULT_MAX_BYTES) -> Deferred[bytes]:
        """All of the file at `path`, verified. Fails with `ReplyTooLarge` beyond `max_bytes`."""

        async def read() -> bytes:
            step = Step(Action.GET, path, _NOWHERE)
            fetched = await self._fetcher(ignore).fetch_small(step, max_bytes=max_bytes)
            if digest_of_bytes(fetched.content) != fetched.digest:
                raise mismatch(step)
            return fetched.content

        return Deferred.fromCoroutine(read())

    def pour(
        self,
        path: str,
        write: Callable[[bytes], Awaitable[None]],
        *,
        on_progress: Progress = ignore,
    ) -> Deferred[int]:
        """Give the content of the file at `path` to `write`, piece by piece; it is waited for. Fires with its size.

        Fails with `DigestMismatch` at the end if that was not the file.
        """
        step = Step(Action.GET, path, _NOWHERE)
        return Deferred.fromCoroutine(self._fetcher(on_progress).pour(step, write))

    def _sender(self, progress: Progress) -> Sender:
        return Sender(
            client=self._client,
            in_thread=self._in_thread,
            progress=progress,
            resume=False,
            preserve=False,
        )

    def _fetcher(self, progress: Progress) -> Fetcher:
        return Fetcher(
            client=self._client,
            in_thread=self._in_thread,
            progress=progress,
            resume=False,
            preserve=False,
        )

    # Everything else

    def list(self, path: str = "", *, recursive: bool = False) -> Listing:
        """What is in the directory at `path`, with `recursive` also all below: an asynchronous iterator of `Entry`."""
        return Listing(self._client, path, recursive=recursive)

    def stat(self, path: str) -> Deferred[Entry]:
        """What there is at `path`."""
        return self._ask("files.stat", Entry, path=path)

    def mkdir(self, path: str, *, parents: bool = False) -> Deferred[None]:
        """Make a directory; with `parents` those on the way, too, and none of them has to be new."""
        return self._ask("files.mkdir", Any, path=path, parents=parents).addCallback(_done)

    def move(self, source: str, target: str, *, overwrite: bool = False) -> Deferred[None]:
        """Give a file or a directory another name."""
        how = ALWAYS if overwrite else NEVER
        return self._ask(
            "files.move", Any, source=source, target=target, overwrite=how
        ).addCallback(_done)

    def remove(self, path: str, *, recursive: bool = False) -> Deferred[None]:
        """Remove a file or an empty directory; with `recursive` a directory and all that is in it."""
        return self._ask("files.remove", Any, path=path, recursive=recursive).addCallback(_done)

    def digest(self, path: str, *, algorithm: str = "blake3") -> Deferred[Digest]:
        """The digest of the file at `path`, by `blake3`, `sha256` or `md5`."""
        return self._ask("files.digest", Digest, path=path, algorithm=algorithm)

    def usage(self) -> Deferred[Usage]:
        """How much the identity uses, may use, and how much room there is."""
        return self._ask("files.usage", Usage)

    def _ask(self, op: str, kind: Any, **arguments: Any) -> Deferred[Any]:
        return self._client.call(op, arguments, result=kind).addCallback(lambda reply: reply.result)


def _step(action: Action, path: str, place: Place, entry: Entry, overwrite: str) -> Step:
    return Step(
        action,
        path,
        place,
        entry.size,
        entry.mtime_ns,
        entry.mode,
        entry.etag or None,
        overwrite,
    )


def _look_at(local: Path) -> Entry:
    with naming(local):
        return entry_of(local.name, os.stat(local))


def _new_folder(path: str, local: Path, *, is_here: bool) -> Step:
    return Step(Action.MAKE, path, Place(local), is_here=is_here, type=FileType.DIRECTORY)


def _list_here(local: Path, may_be_missing: bool) -> Listed:
    if may_be_missing and not local.is_symlink() and not local.exists():
        return Listed({})
    if local.exists() and not local.is_dir():
        raise LocalFileError(f"{local} is not a folder")
    return list_folder(local)


def _done(result: object) -> None:
    return None
