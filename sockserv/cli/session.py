"""What a command's work has to do with: the options, the daemon, the profiles, the standard streams, the time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from sockserv.cli.exits import EndedBySignal
from sockserv.cli.options import Options
from sockserv.cli.output import as_json_line, printable
from sockserv.cli.stdio import Input, Output, StreamError

if TYPE_CHECKING:
    from sockserv.cli.terminal import Terminal
    from sockserv.client import Client
    from sockserv.client.profiles import Profile, Profiles

__all__ = ["Session", "Work"]


@attrs.frozen(kw_only=True)
class Session:
    """The world as the work of a command sees it.

    `connect` makes a connection as the options say, `connect_to` one to a server by its profile, with a password if
    there is one, `connect_by_name` one to a server as `--server` names it; `profiles` are the logins of this account.
    `now` is a time in seconds from some moment on, for measuring. `on_signal` has a function called when a signal
    comes, instead of what else would become of the command then; None takes that back.
    """

    options: Options
    clock: IReactorTime
    now: Callable[[], float]
    connect: Callable[[], Deferred[Client]]
    connect_to: Callable[[Profile, str | None], Deferred[Client]]
    connect_by_name: Callable[[str], Deferred[Client]]
    on_signal: Callable[[int, Callable[[], None] | None], None]
    profiles: Profiles
    terminal: Terminal
    input: Input
    output: Output
    errors: Output

    async def show(self, text: str, values: Mapping[str, Any] | None = None) -> None:
        """Write a line: `text` for people, or `values` as JSON; nothing for programs without values.

        Raises `StreamError` and `EndedBySignal`.
        """
        if not self.options.json:
            await self.output.write(f"{printable(text)}\n".encode())
        elif values is not None:
            await self.output.write(as_json_line(values))

    async def remark(self, text: str) -> None:
        """Write lines to standard error, for people: programs and closed streams go without."""
        if not self.options.json:
            lines = "".join(f"{printable(line)}\n" for line in text.split("\n"))
            with suppress(StreamError, EndedBySignal):
                await self.errors.write(lines.encode())


Work: TypeAlias = Callable[[Session], Coroutine[Any, Any, None]]
