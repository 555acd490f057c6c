"""Files from here to somebody else, into the inbox that they have at the server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from sockserv.chat.names import parse_place
from sockserv.client.files.local import Source
from sockserv.client.files.parallel import forget
from sockserv.client.files.plan import Action, Place, Step
from sockserv.client.files.progress import Progress, State, Transfer
from sockserv.client.files.sending import Sender
from sockserv.files.arguments import OfferArguments, OfferedArguments
from sockserv.files.facts import Kept, KeptOffer, Offered, Stored
from sockserv.files.offers import offered_name

if TYPE_CHECKING:
    from sockserv.client.client import Client
    from sockserv.net.threads import InThread

__all__ = ["offer"]


async def offer(
    client: Client,
    in_thread: InThread,
    local: Path,
    to: str,
    name: str | None,
    *,
    resume: bool,
    progress: Progress,
) -> Offered:
    """Send the file at `local` to somebody; see `Files.offer`."""
    to = parse_place(f"@{to.removeprefix('@')}").name
    local = local.absolute()  # noqa: ASYNC240  # which asks no disk
    # What no server would take is not asked for.
    name = offered_name(local.name if name is None else name)
    source = Source(local, may_be_link=True)
    try:
        status = await in_thread(source.open)
        step = Step(
            Action.PUT, name, Place(local.parent, (local.name,), is_named=True), status.st_size
        )
        sender = _OfferSender(
            client=client,
            in_thread=in_thread,
            progress=progress,
            resume=resume,
            preserve=False,
            to=to,
        )
        return await sender.offer(step, source)
    finally:
        forget(in_thread(source.close))


class _HasComeBefore(Exception):
    """It is not to be sent again."""

    def __init__(self, offered: Offered) -> None:
        super().__init__()
        self.offered = offered


@attrs.frozen(kw_only=True)
class _OfferSender(Sender):
    """Sends files to somebody: the path of a step is the name of its file."""

    operation: ClassVar[str] = "files.offer"
    result: ClassVar[type[Stored]] = Offered

    to: str

    async def offer(self, step: Step, source: Source) -> Offered:
        """Send the file of an open source. Raises what the call fails with, and `LocalFileError`."""
        try:
            stored = await self.send(step, source)
        except _HasComeBefore as before:
            self.progress(Transfer(step, State.SAME, step.size, step.size))
            return before.offered
        assert isinstance(stored, Offered), "that is what the call has given"
        return stored

    async def _ask_what_is_kept(self, step: Step, upload: str) -> Kept:
        arguments = OfferedArguments(to=self.to, name=step.path, upload=upload)
        reply = await self.client.call("files.offered", arguments, result=KeptOffer)
        if reply.result.offered is not None:
            raise _HasComeBefore(reply.result.offered)
        return reply.result

    def _arguments(self, step: Step, mode: int, mtime_ns: int, **others: Any) -> Any:
        return OfferArguments(to=self.to, name=step.path, **others)
