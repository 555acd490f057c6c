"""What a command's work has to do with: the options, the daemon, the standard streams, the time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from sockserv.cli.options import Options
from sockserv.cli.output import as_json_line, printable
from sockserv.cli.stdio import Input, Output

if TYPE_CHECKING:
    from sockserv.client import Client

__all__ = ["Session", "Work"]


@attrs.frozen(kw_only=True)
class Session:
    """The world as the work of a command sees it.

    `connect` makes a connection as the options say; `now` is a time in seconds from some moment on, for
    measuring.
    """

    options: Options
    clock: IReactorTime
    now: Callable[[], float]
    connect: Callable[[], Deferred[Client]]
    input: Input
    output: Output

    async def show(self, text: str, values: Mapping[str, Any] | None = None) -> None:
        """Write a line: `text` for people, or `values` as JSON; nothing for programs without values.

        Raises `StreamError` and `EndedBySignal`.
        """
        if not self.options.json:
            await self.output.write(f"{printable(text)}\n".encode())
        elif values is not None:
            await self.output.write(as_json_line(values))


Work: TypeAlias = Callable[[Session], Coroutine[Any, Any, None]]
