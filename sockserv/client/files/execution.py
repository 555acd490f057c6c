"""Carrying out a plan: many steps over one connection, several at a time.

Small files go in batches: one turn of a thread reads or writes a whole batch, and each file is one call, all of a
batch in flight together. What is in memory is bounded by the batches and the large files that are under way.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred

from sockserv.client.files.errors import (
    Incomplete,
    LocalDiskError,
    LocalFileError,
)
from sockserv.client.files.fetching import Fetched, Fetcher, digest_here, digest_there
from sockserv.client.files.local import Content, Source
from sockserv.client.files.parallel import forget, in_parallel
from sockserv.client.files.plan import Action, Plan, Step
from sockserv.client.files.progress import Progress, State, Summary, Transfer
from sockserv.client.files.sending import SMALL_BYTES, Sender
from sockserv.client.files.small import read_all, write_all
from sockserv.client.files.target import make_folder, remove
from sockserv.errors import SockservError
from sockserv.files.errors import Exists, FilesError, NoSpace, QuotaExceeded, RefusedName
from sockserv.files.facts import FileType

if TYPE_CHECKING:
    from sockserv.client.client import Client
    from sockserv.net.threads import InThread

__all__ = ["Execution"]

_BATCH_FILES: Final = 40
_BATCH_BYTES: Final = 1024 * 1024
_AT_ONCE: Final = 3
"""How many batches, or large files, are under way.

All calls of so many batches are fewer than the 128 that a server takes at once by default: one that has to wait costs
twice as much.
"""

_MAX_FAILURES: Final = 100
"""So many failures are remembered; the others are counted."""

_FATAL = (NoSpace, QuotaExceeded, LocalDiskError)
"""What would meet every other file, too."""


class Execution:
    """Carries out plans with one set of choices; see `Files.carry_out`."""

    def __init__(
        self,
        client: Client,
        in_thread: InThread,
        progress: Progress,
        *,
        resume: bool,
        preserve: bool,
    ) -> None:
        self._client = client
        self._in_thread = in_thread
        self._tell = progress
        self._preserve = preserve
        self._sender = Sender(
            client=client,
            in_thread=in_thread,
            progress=self._on_progress,
            resume=resume,
            preserve=preserve,
        )
        self._fetcher = Fetcher(
            client=client,
            in_thread=in_thread,
            progress=self._on_progress,
            resume=resume,
            preserve=preserve,
        )
        self._summary = Summary()
        self._failures: list[tuple[str, SockservError]] = []

    async def run(self, plan: Plan) -> Summary:
        """Do all of it. Raises what stops it, and `Incomplete` when some of many steps have failed."""
        self._summary.same += plan.same
        for path, reason in plan.impossible:
            self._fail(path, RefusedName(reason, details={"path": path}))
        await in_parallel(self._transfers(plan.steps), at_once=_AT_ONCE)
        if plan.removals and not self._failures:
            await self._remove(plan.removals)
        if self._failures and len(plan.steps) == 1 and not plan.impossible:
            raise self._failures[0][1]
        if self._failures:
            raise Incomplete(self._summary, self._failures)
        return self._summary

    async def settle(self, plan: Plan) -> Plan:
        """The plan without doubts: whatever differs is a step, and the rest is the same."""
        differing: set[Step] = set()
        await in_parallel(
            (self._compare_batch(batch, differing) for batch in _batches(plan.doubtful)),
            at_once=_AT_ONCE,
        )
        steps = plan.steps + [step for step in plan.doubtful if step in differing]
        same = plan.same + len(plan.doubtful) - len(differing)
        return Plan(steps, plan.removals, [], same, plan.impossible, plan.left_out)

    async def _compare_batch(self, batch: Sequence[Step], differing: set[Step]) -> None:
        contents = await self._in_thread(partial(read_all, batch, max_bytes=SMALL_BYTES))

        async def compare(step: Step, content: Content | SockservError | None) -> None:
            if not await self._is_same(step, content):
                differing.add(step)

        await in_parallel(
            map(compare, batch, contents), at_once=len(batch), beginning=self._client.together()
        )

    async def _is_same(self, step: Step, content: Content | SockservError | None) -> bool:
        if isinstance(content, SockservError):
            # It will be met again, and reported, when the file is to travel.
            return False
        there = Deferred.fromCoroutine(digest_there(step, self._client))
        try:
            here = content.digest if content else await digest_here(step, self._in_thread)
            return (await there).digest == here
        except (FilesError, LocalFileError):
            return False
        finally:
            forget(there)

    # Steps, and what comes of them

    def _on_progress(self, transfer: Transfer) -> None:
        self._summary.count(transfer)
        self._tell(transfer)

    def _fail(self, path: str, error: SockservError, step: Step | None = None) -> None:
        if len(self._failures) < _MAX_FAILURES:
            self._failures.append((path, error))
        if step is None:
            self._summary.failed += 1
        else:
            self._on_progress(Transfer(step, State.FAILED, error=error))

    async def _attempt(self, step: Step, work: Coroutine[Any, Any, Any]) -> None:
        """Do one step; what goes wrong with this one file stops no other."""
        try:
            await work
        except (FilesError, LocalFileError) as error:
            self._fail(step.path, error, step)
            if isinstance(error, _FATAL):
                raise

    def _transfers(self, steps: Iterable[Step]) -> Iterator[Coroutine[Any, Any, None]]:
        kinds: dict[Action, Callable[[Sequence[Step]], Coroutine[Any, Any, None]]] = {
            Action.PUT: self._put_batch,
            Action.GET: self._get_batch,
            Action.MAKE: self._make_batch,
        }
        for batch in _batches(steps):
            yield kinds[batch[0].action](batch)

    # To the server

    async def _put_batch(self, batch: Sequence[Step]) -> None:
        contents = await self._in_thread(partial(read_all, batch, max_bytes=SMALL_BYTES))
        small = []
        for step, content in zip(batch, contents, strict=True):
            if isinstance(content, Content):
                small.append((step, content))
            elif content is None:
                await self._attempt(step, self._put_large(step))
            else:
                await self._attempt(step, _raising(content))
        taken = await self._put_small(small)
        await in_parallel(
            (self._attempt(each[0], self._sender.find_same(*each)) for each in taken),
            at_once=len(taken) or 1,
            beginning=self._client.together(),
        )

    async def _put_small(
        self, batch: Sequence[tuple[Step, Content]]
    ) -> list[tuple[Step, Content, Exists]]:
        """Send what is in memory, all of it together; gives those whose names others have."""
        # Waiting for one after the other, when all are on their way, is much cheaper than a coroutine for each.
        with self._client.together():
            calls = [self._sender.begin_small(*each) for each in batch]
        taken = []
        try:
            for (step, content), call in zip(batch, calls, strict=True):
                try:
                    self._sender.end_small(step, content, await call)
                except Exists as error:
                    taken.append((step, content, error))
                except (FilesError, LocalFileError) as error:
                    await self._attempt(step, _raising(error))
        finally:
            for call in calls:
                forget(call)
                call.cancel()
        return taken

    async def _put_large(self, step: Step) -> None:
        source = Source(step.place.path, may_be_link=step.place.is_named)
        try:
            await self._in_thread(source.open)
            await self._sender.send(step, source)
        finally:
            forget(self._in_thread(source.close))

    # From the server

    async def _get_batch(self, batch: Sequence[Step]) -> None:
        if batch[0].size > SMALL_BYTES:
            await in_parallel(
                (self._attempt(step, self._fetcher.fetch(step)) for step in batch), at_once=1
            )
            return
        fetched: list[Fetched] = []

        async def fetch(step: Step) -> None:
            fetched.append(await self._fetcher.fetch_small(step, max_bytes=SMALL_BYTES))

        await in_parallel(
            (self._attempt(step, fetch(step)) for step in batch),
            at_once=len(batch),
            beginning=self._client.together(),
        )
        outcomes = await self._in_thread(partial(write_all, fetched, preserve=self._preserve))
        for outcome in outcomes:
            step, size = outcome.fetched.step, len(outcome.fetched.content)
            if outcome.error is not None:
                await self._attempt(step, _raising(outcome.error))
            else:
                known = size if outcome.state is State.SAME else 0
                self._on_progress(Transfer(step, outcome.state, size, known))

    # Directories and removals

    async def _make_batch(self, batch: Sequence[Step]) -> None:
        await in_parallel((self._attempt(step, self._make(step)) for step in batch), at_once=8)

    async def _make(self, step: Step) -> None:
        if step.is_here:
            await self._in_thread(make_folder, step.place)
        else:
            await self._client.call("files.mkdir", {"path": step.path, "parents": True})
        self._on_progress(Transfer(step, State.DONE))

    async def _remove(self, steps: Sequence[Step]) -> None:
        files = [step for step in steps if step.type is FileType.FILE]
        folders = [step for step in steps if step.type is not FileType.FILE]
        for some, at_once in ((files, _BATCH_FILES), (folders, 1)):
            await in_parallel(
                (self._attempt(step, self._remove_one(step)) for step in some), at_once=at_once
            )

    async def _remove_one(self, step: Step) -> None:
        if step.is_here:
            is_folder = step.type is FileType.DIRECTORY
            await self._in_thread(partial(remove, step.place, is_folder=is_folder))
        else:
            await self._client.call("files.remove", {"path": step.path})
        self._on_progress(Transfer(step, State.DONE))


async def _raising(error: SockservError) -> None:
    raise error


def _batches(steps: Iterable[Step]) -> Iterator[Sequence[Step]]:
    """Small files, or new directories, that stand together; a large file by itself."""
    batch: list[Step] = []
    size = 0
    for step in steps:
        is_alone = step.size > SMALL_BYTES
        is_full = len(batch) >= _BATCH_FILES or size + step.size > _BATCH_BYTES
        if batch and (is_alone or is_full or step.action is not batch[0].action):
            yield batch
            batch, size = [], 0
        if is_alone:
            yield [step]
        else:
            batch.append(step)
            size += step.size
    if batch:
        yield batch
