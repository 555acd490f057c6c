"""Times as people write them: `30m`, `12h`, `7d`, `4w`."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["seconds_in"]

_SECONDS: Final = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_MAX_SECONDS: Final = 100 * 365 * 86_400
_DURATION: Final = re.compile(r"([1-9][0-9]{0,9})([mhdw])")


def seconds_in(text: str) -> int | None:
    """How many seconds that is; None for what is no time, or is longer than a hundred years."""
    match = _DURATION.fullmatch(text)
    seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
    return seconds if 0 < seconds <= _MAX_SECONDS else None
