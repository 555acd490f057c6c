"""The terminal of a chat: a line that is typed, with what is said above it.

prompt_toolkit runs on asyncio. It gets a thread with a loop of its own, which owns the terminal: one that takes
nothing holds up that thread, and neither the reactor nor the connection. Between the two go whole values: lines to be
shown and a `View` one way, what was typed the other.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import datetime
from threading import Thread
from typing import Any, Final, Protocol

from prompt_toolkit import PromptSession
from prompt_toolkit.application import in_terminal
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.data_structures import Size
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import has_focus
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.input.vt100 import Vt100Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.renderer import print_formatted_text
from prompt_toolkit.shortcuts import CompleteStyle
from prompt_toolkit.styles import Style
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads

from sockserv.chat.arguments import MAX_TEXT_BYTES
from sockserv.cli.talking.completing import completions
from sockserv.cli.talking.shielding import Shielding
from sockserv.cli.talking.showing import Line, Row, rows_of
from sockserv.cli.talking.view import View, bar_of, prompt_of

__all__ = ["Screen", "ThreadScreen"]

_MOST_UNSHOWN: Final = 256
"""So many lines wait for the terminal; then who shows more has to wait."""

_STYLE: Final = Style.from_dict(
    {
        "time": "ansibrightblack",
        "own": "bold",
        "text": "",
        "margin": "ansibrightblack",
        "notice": "ansibrightblack",
        "error": "ansired",
        "prompt": "bold",
        "unread": "bold",
        "lost": "ansired bold",
        "fact": "",
        "name0": "ansired",
        "name1": "ansigreen",
        "name2": "ansiyellow",
        "name3": "ansiblue",
        "name4": "ansimagenta",
        "name5": "ansicyan",
    }
)


class Screen(Protocol):
    """Where a chat is shown."""

    def start(self) -> None:
        """Show the line that is typed."""

    def close(self) -> None:
        """Take the line away, once what is to be shown has been."""

    def ended(self) -> Deferred[None]:
        """Fires when the terminal is free again; fails when it cannot be used. Cancelling it gives up waiting alone."""

    def show(self, lines: Iterable[Line]) -> None:
        """Show lines."""

    async def room(self) -> None:
        """Wait while too many lines are not shown."""

    def update(self, view: View) -> None:
        """Show other facts around the line that is typed."""


class _Output(Vt100_Output):
    """A terminal that is not asked where the cursor is: each line that is shown would wait for the answer."""

    def get_rows_below_cursor_position(self) -> int:
        """One at least: the bar stands right below the line that is typed."""
        return 1


class _Input(Vt100Input):
    """A terminal that stays raw while lines are shown: Ctrl-D, Ctrl-C or Enter of that moment would
    be the terminal's.
    """

    def cooked_mode(self) -> AbstractContextManager[None]:
        """As it is: lines that are shown need no other."""
        return nullcontext()


class ThreadScreen:
    """The terminal that is standard input and output.

    `on_typed` is called with each text that is entered, and with None when somebody wants to leave. `size` tells its
    columns and rows.
    """

    def __init__(
        self,
        reactor: IReactorFromThreads,
        on_typed: Callable[[str | None], object],
        *,
        type: str,
        size: Callable[[], tuple[int, int]],
    ) -> None:
        self._reactor = reactor
        self._on_typed = on_typed
        self._type = type
        self._size = size
        self._view = View()
        self._unshown: list[Line] = []
        self._is_showing = False
        self._is_closing = False
        self._has_room: list[Deferred[None]] = []
        self._loop = asyncio.new_event_loop()
        self._output: Vt100_Output
        self._prompt: PromptSession[str]
        self._has_ended = False
        self._failure: Exception | None = None
        self._waiting: list[Deferred[None]] = []

    def start(self) -> None:
        """Show the line; see `Screen`."""
        Thread(target=self._run, name="terminal", daemon=True).start()

    def close(self) -> None:
        """Take the line away; see `Screen`."""
        self._is_closing = True
        self._show_more()

    def ended(self) -> Deferred[None]:
        """Fires when the terminal is free; see `Screen`."""
        waiting: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        if self._has_ended:
            self._tell()
        return waiting

    def show(self, lines: Iterable[Line]) -> None:
        """Show lines; see `Screen`."""
        self._unshown += lines
        self._show_more()

    async def room(self) -> None:
        """Wait while too many lines are not shown; see `Screen`."""
        while len(self._unshown) > _MOST_UNSHOWN:
            waiting: Deferred[None] = Deferred(self._has_room.remove)
            self._has_room.append(waiting)
            await waiting

    def update(self, view: View) -> None:
        """Show other facts; see `Screen`."""
        self._view = view
        self._in_thread(lambda: self._prompt.app.invalidate())

    # In the reactor's thread

    def _in_thread(self, function: Callable[[], Any]) -> None:
        # The loop is closed where the terminal has gone.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function)

    def _show_more(self) -> None:
        if self._is_showing:
            return
        if self._unshown:
            lines, self._unshown = self._unshown, []
            self._is_showing = True
            self._in_thread(lambda: self._loop.create_task(self._print(lines)))
            waiting, self._has_room = self._has_room, []
            for one in waiting:
                one.callback(None)
        elif self._is_closing:
            self._in_thread(self._leave)

    def _shown(self) -> None:
        self._is_showing = False
        self._show_more()

    def _end(self, failure: Exception | None) -> None:
        self._has_ended = True
        self._failure = failure
        self._tell()

    def _tell(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if self._failure is None:
                one.callback(None)
            else:
                one.errback(self._failure)

    # In the terminal's thread

    def _run(self) -> None:
        failure = None
        try:
            self._open()
            self._loop.run_until_complete(
                self._prompt.prompt_async(handle_sigint=False, set_exception_handler=False)
            )
        except EOFError:
            # The terminal has gone.
            self._reactor.callFromThread(self._on_typed, None)
        except Exception as error:
            failure = error
        finally:
            self._loop.close()
            self._reactor.callFromThread(self._end, failure)

    def _open(self) -> None:
        self._output = _Output(sys.stdout, self._now_size, term=self._type, enable_cpr=False)
        self._prompt = PromptSession(
            lambda: [("class:prompt", prompt_of(self._view, self._columns))],
            input=_Input(sys.stdin),
            output=self._output,
            multiline=True,
            style=_STYLE,
            include_default_pygments_style=False,
            key_bindings=self._keys(),
            completer=_Completer(lambda: self._view),
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,
            reserve_space_for_menu=0,
            bottom_toolbar=lambda: _styled(bar_of(self._view, self._columns)),
            prompt_continuation=lambda columns, row, is_wrapped: "│ ".rjust(columns),
            input_processors=[Shielding()],
            erase_when_done=True,
        )

    @property
    def _columns(self) -> int:
        return self._size()[0]

    def _now_size(self) -> Size:
        columns, rows = self._size()
        return Size(rows=rows, columns=columns)

    def _leave(self) -> None:
        if self._prompt.app.is_running and not self._prompt.app.is_done:
            self._prompt.app.exit(result="")

    async def _print(self, lines: Iterable[Line]) -> None:
        try:
            async with in_terminal():
                columns, today = self._columns, datetime.now()
                for line in lines:
                    for row in rows_of(line, columns, today=today):
                        text = FormattedText([*_styled(row), ("", "\n")])
                        print_formatted_text(self._output, text, _STYLE)
        finally:
            self._reactor.callFromThread(self._shown)

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()
        typing = has_focus(DEFAULT_BUFFER)

        @keys.add("enter", filter=typing)
        def enter(event: KeyPressEvent) -> None:
            text = event.current_buffer.text
            event.current_buffer.reset(append_to_history=True)
            self._reactor.callFromThread(self._on_typed, text)

        @keys.add("escape", "enter", filter=typing)
        def new_line(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @keys.add("c-c", filter=typing)
        def interrupt(event: KeyPressEvent) -> None:
            if event.current_buffer.text:
                event.current_buffer.reset()
            else:
                self._reactor.callFromThread(self._on_typed, None)

        @keys.add("c-d", filter=typing)
        def end(event: KeyPressEvent) -> None:
            if event.current_buffer.text:
                event.current_buffer.delete()
            else:
                self._reactor.callFromThread(self._on_typed, None)

        @keys.add(Keys.BracketedPaste, filter=typing)
        def paste(event: KeyPressEvent) -> None:
            # One character more than is ever sent, so that this is seen, and not all of a disk.
            text = event.data[: MAX_TEXT_BYTES + 1].replace("\r\n", "\n").replace("\r", "\n")
            event.current_buffer.insert_text(text)

        return keys


class _Completer(Completer):
    """Completes by the facts as they are at the moment."""

    def __init__(self, view: Callable[[], View]) -> None:
        self._view = view

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """What could stand before the cursor."""
        length, found = completions(document.text_before_cursor, self._view())
        return (Completion(one, start_position=-length) for one in found)


def _styled(row: Row) -> FormattedText:
    return FormattedText([(f"class:{style}" if style else "", text) for style, text in row])
