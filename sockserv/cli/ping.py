"""`sockserv ping`: how long a round trip to the daemon takes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import click

from sockserv.cli.options import App, Command, Seconds, pass_app
from sockserv.errors import DeadlineExceeded, SockservError

if TYPE_CHECKING:
    from sockserv.cli.session import Session
    from sockserv.client import Client

__all__ = ["command"]

_MAX_REMEMBERED: Final = 100_000
_DEFAULT_COUNT: Final = 5


@click.command(
    "ping",
    cls=Command,
    epilog="""\b
Examples:
  sockserv ping                            5 round trips, at once
  sockserv ping --count 0                  one a second, until Ctrl-C
  sockserv ping --count 1000 --json | tail -1""",
)
@click.option(
    "-c",
    "--count",
    type=click.IntRange(min=0),
    default=_DEFAULT_COUNT,
    metavar="N",
    help=f"How many round trips; 0: on and on, until Ctrl-C.  [default: {_DEFAULT_COUNT}]",
)
@click.option(
    "-i",
    "--interval",
    type=Seconds(may_be_zero=True),
    metavar="SECONDS",
    help="The pause between two.  [default: 0, or 1 with --count 0]",
)
@pass_app
def command(app: App, count: int, interval: float | None) -> None:
    """Measure round trips to the daemon.

    A round trip goes past all services: what it takes is the way there and back. Each may take as
    long as --timeout says. Ctrl-C ends it with the summary, and is a success if an answer came.
    """
    if interval is None:
        interval = 0.0 if count else 1.0
    pause = interval
    app.run(app.options, lambda session: _ping(session, count, pause))


class _Tally:
    """The times so far. The median is that of the last 100,000."""

    def __init__(self) -> None:
        self.count = 0
        self.least = float("inf")
        self.most = 0.0
        self._last: deque[float] = deque(maxlen=_MAX_REMEMBERED)

    def add(self, milliseconds: float) -> None:
        """One more round trip."""
        self.count += 1
        self.least = min(self.least, milliseconds)
        self.most = max(self.most, milliseconds)
        self._last.append(milliseconds)

    @property
    def median(self) -> float:
        """The one in the middle, or the mean of the two."""
        times = sorted(self._last)
        middle = len(times) // 2
        return times[middle] if len(times) % 2 else (times[middle - 1] + times[middle]) / 2


async def _ping(session: Session, count: int, pause: float) -> None:
    # Imported late: the help needs none of it.
    from twisted.internet.defer import CancelledError

    client = await session.connect()
    tally = _Tally()
    try:
        try:
            await _measure(session, client, tally, count, pause)
        except SockservError:
            # What was measured before is still true.
            if tally.count:
                await _show_summary(session, tally)
            raise
        except CancelledError:
            # Ctrl-C is the usual way to end it.
            if not tally.count:
                raise
            # The terminal has just shown ^C.
            await session.show("")
        await _show_summary(session, tally)
    finally:
        await client.close()


async def _measure(
    session: Session, client: Client, tally: _Tally, count: int, pause: float
) -> None:
    from twisted.internet.defer import TimeoutError
    from twisted.internet.task import deferLater

    timeout = session.options.timeout
    who = "without a login" if client.identity is None else f"as {client.identity}"
    await session.show(f"{client.server_name} ({client.server_agent}), {who}")
    while not count or tally.count < count:
        if tally.count and pause:
            await deferLater(session.clock, pause)
        start = session.now()
        try:
            await client.ping().addTimeout(timeout, session.clock)
        except TimeoutError:
            raise DeadlineExceeded(f"no answer to a ping within {timeout:g} seconds") from None
        milliseconds = (session.now() - start) * 1000
        tally.add(milliseconds)
        await session.show(
            f"{tally.count}: {milliseconds:.3f} ms",
            {"ping": tally.count, "ms": round(milliseconds, 3)},
        )


async def _show_summary(session: Session, tally: _Tally) -> None:
    await session.show(
        f"{tally.count} round trip{'s' if tally.count > 1 else ''}: "
        f"min {tally.least:.3f} ms, median {tally.median:.3f} ms, max {tally.most:.3f} ms",
        {
            "count": tally.count,
            "min_ms": round(tally.least, 3),
            "median_ms": round(tally.median, 3),
            "max_ms": round(tally.most, 3),
        },
    )
