"""How many files the process may have open, and so how many connections it has room for."""

from __future__ import annotations

import resource
from contextlib import suppress
from typing import Final

from twisted.logger import Logger

__all__ = ["make_room_for"]

_FILES_FOR_ITSELF: Final = 64
"""The files that a daemon has open besides its connections, at most."""

_log: Final = Logger()


def make_room_for(connections: int) -> None:
    """Let the process open as many files as it may, and say it in the log where that is not enough for so many
    connections.

    Common systems give it far fewer at first.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):  # some systems have no end, and let nobody go there
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    room = hard - _FILES_FOR_ITSELF
    if hard != resource.RLIM_INFINITY and room < connections:
        _log.warn(
            "there is room for about {room} connections, not for max_connections ({wanted}): "
            "this process may open {hard} files (ulimit -Hn)",
            room=max(0, room),
            wanted=connections,
            hard=hard,
        )
