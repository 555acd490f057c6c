"""The way out of a terminal that sends every key to the far end, as ssh has it: Enter, `~`, `.` leaves."""

from __future__ import annotations

from typing import Final

import attrs

__all__ = ["EscapeFilter"]

_TILDE: Final = ord("~")
_DOT: Final = ord(".")
_LINE_ENDS: Final = (ord("\r"), ord("\n"))


@attrs.define
class EscapeFilter:
    """Looks for the escape in what is typed. `has_left` says that it was found.

    A `~` at the beginning of a line is held back until the next key: a `.` leaves, a second `~` sends one, and
    anything else is sent with it.
    """

    has_left: bool = False
    _is_at_line_start: bool = attrs.field(default=True, init=False)
    _is_held: bool = attrs.field(default=False, init=False)

    def feed(self, typed: bytes) -> bytes:
        """What of it is to be sent."""
        if not self._is_held and _TILDE not in typed:
            if typed:
                self._is_at_line_start = typed[-1] in _LINE_ENDS
            return typed
        kept = bytearray()
        for key in typed:
            if self._is_held:
                self._is_held = False
                if key == _DOT:
                    self.has_left = True
                    break
                if key != _TILDE:
                    kept.append(_TILDE)
            elif key == _TILDE and self._is_at_line_start:
                self._is_held = True
                continue
            kept.append(key)
            self._is_at_line_start = key in _LINE_ENDS
        return bytes(kept)

    def end(self) -> bytes:
        """What was held back, when nothing more is typed."""
        held, self._is_held = self._is_held, False
        return b"~" if held else b""
