"""Carrying out a plan for a person or a program: what is shown of it, and what is said at the end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import CancelledError, Deferred

from sockserv.cli.amounts import amount
from sockserv.cli.complaints import name_of
from sockserv.cli.output import as_json_line, printable
from sockserv.client.files import Action, Incomplete, Plan, State, Step, Summary, Transfer
from sockserv.errors import CallError, ConnectionEnded, SockservError
from sockserv.files.errors import RefusedName

if TYPE_CHECKING:
    from sockserv.cli.session import Session
    from sockserv.client.files import Files, Progress

__all__ = ["carry_out", "follow", "show_plan"]

_MOST_LINES: Final = 10
_GOES_ON: Final = "The same command goes on from here."


async def carry_out(
    session: Session, files: Files, plan: Plan, *, resume: bool = True, preserve: bool = False
) -> None:
    """Do what is planned, and show it. Raises what that raises."""
    await _say_what_is_left_out(session, plan)

    async def work(progress: Progress) -> Summary:
        return await files.carry_out(plan, resume=resume, preserve=preserve, on_progress=progress)

    steps = len(plan.steps) + len(plan.removals)
    await follow(
        session, work, size_bytes=plan.size, steps=steps, advice=_GOES_ON if resume else ""
    )


async def follow(
    session: Session,
    work: Callable[[Progress], Awaitable[Summary]],
    *,
    size_bytes: int | None,
    steps: int = 1,
    advice: str = "",
) -> None:
    """Do some work, which tells of its progress, and show that; `advice` is for when it is interrupted."""
    start = session.now()
    audience = _audience(session, size_bytes, steps)
    try:
        summary = await work(audience.update)
    except Incomplete as error:
        await audience.end()
        await _show_summary(session, error.summary, session.now() - start)
        await _tell_failures(session, error.failures[1:])
        raise
    except (CancelledError, ConnectionEnded):
        await audience.end()
        await session.remark(f"Stopped. {advice}".rstrip())
        raise
    except BaseException:
        await audience.end()
        raise
    await audience.end()
    await _show_summary(session, summary, session.now() - start)


async def _show_summary(session: Session, summary: Summary, seconds: float) -> None:
    if session.options.json:
        await session.show(
            "",
            {
                "done": summary.done,
                "same": summary.same,
                "failed": summary.failed,
                "sent_bytes": summary.sent_bytes,
                "seconds": round(seconds, 3),
            },
        )
    elif session.terminal.has(2):
        words = [f"{summary.done} done, {amount(summary.sent_bytes)} in {seconds:.1f} s"]
        if summary.sent_bytes and seconds > 0:
            words.append(f"{amount(summary.sent_bytes / seconds)}/s")
        if summary.same:
            words.append(f"{summary.same} already there")
        if summary.failed:
            words.append(f"{summary.failed} failed")
        await session.remark(", ".join(words))


async def show_plan(session: Session, plan: Plan) -> None:
    """What would be done, a line each.

    Raises `Incomplete` where some of it could not: then nothing would be removed.
    """
    removals = () if plan.impossible else plan.removals
    for step in (*plan.steps, *removals):
        shown = step.place.path if step.is_here else step.path
        await session.show(f"{step.action} {shown}", _as_values(step))
    await _say_what_is_left_out(session, plan)
    if plan.impossible:
        summary = Summary(done=len(plan.steps), same=plan.same, failed=len(plan.impossible))
        failures = [(path, RefusedName(reason)) for path, reason in plan.impossible]
        await _tell_failures(session, failures[1:])
        raise Incomplete(summary, failures)


async def _tell_failures(session: Session, failures: Sequence[tuple[str, SockservError]]) -> None:
    for path, failure in failures:
        await session.remark(printable(f"{path}: {failure}"))


async def _say_what_is_left_out(session: Session, plan: Plan) -> None:
    for path in plan.left_out[:_MOST_LINES]:
        await session.remark(printable(f"{path}: left out, it is a link, a device or the like"))
    if len(plan.left_out) > _MOST_LINES:
        await session.remark(f"and {len(plan.left_out) - _MOST_LINES} more")


def _as_values(step: Step) -> dict[str, Any]:
    values: dict[str, Any] = {
        "action": step.action.value,
        "path": step.path,
        "local": _text(str(step.place.path)),
    }
    if step.action in (Action.PUT, Action.GET):
        values["size"] = step.size
    else:
        values["here"] = step.is_here
    return values


def _text(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


class _Nobody:
    """Whoever looks at a pipe wants to see nothing."""

    def update(self, transfer: Transfer) -> None:
        """Not even this."""

    async def end(self) -> None:
        """It never began."""


class _Program:
    """A line of JSON for every step that has ended."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lines: list[bytes] = []
        self._is_writing = False
        self._written: Deferred[None] | None = None

    def update(self, transfer: Transfer) -> None:
        """Write it, without waiting for that: who carries out the plan does not."""
        if transfer.state is State.RUNNING:
            return
        values = _as_values(transfer.step) | {"state": transfer.state.value}
        if transfer.error is not None:
            values["error"] = {"code": _code(transfer.error), "message": _text(str(transfer.error))}
        self._lines.append(as_json_line(values))
        if not self._is_writing:
            self._is_writing = True
            self._written = Deferred.fromCoroutine(self._write())

    async def end(self) -> None:
        """Wait until all of it is written. Raises what writing raises."""
        if self._written is not None:
            await self._written

    async def _write(self) -> None:
        while self._lines:
            lines, self._lines = self._lines, []
            await self._session.output.write(b"".join(lines))
        # Where it has failed, nothing more is written.
        self._is_writing = False


def _code(error: SockservError) -> str:
    return error.wire_code if isinstance(error, CallError) else name_of(error)


def _audience(session: Session, size_bytes: int | None, steps: int) -> Any:
    if session.options.json:
        return _Program(session)
    if not session.terminal.has(2):
        return _Nobody()
    # Imported late: most commands show no bars.
    from sockserv.cli.display import Display

    display = Display(session, size_bytes=size_bytes, steps=steps)
    display.start()
    return display
