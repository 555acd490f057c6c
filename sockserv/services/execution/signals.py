"""Signals by their names, without `SIG`."""

from __future__ import annotations

from signal import SIGRTMAX, SIGRTMIN, Signals

from sockserv.errors import InvalidArgument

__all__ = ["name_of_signal", "number_of_signal"]


def number_of_signal(name: str) -> int:
    """The number of a signal, of a real-time one as `RTMIN+3`, too; raises `InvalidArgument`."""
    base, plus, offset = name.partition("+")
    if base == "RTMIN" and plus and offset.isascii() and offset.isdigit():
        number = SIGRTMIN + int(offset)
        if number <= SIGRTMAX:
            return number
    try:
        return Signals[f"SIG{name}"]
    except KeyError:
        raise InvalidArgument(f"signal: there is no signal {name} here") from None


def name_of_signal(number: int) -> str:
    """The name of a signal."""
    try:
        return Signals(number).name.removeprefix("SIG")
    except ValueError:
        return f"RTMIN+{number - SIGRTMIN}" if number > SIGRTMIN else str(number)
