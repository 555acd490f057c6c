"""How long what belongs to the end of a job may take, whoever looks after it. Times are in seconds."""

from __future__ import annotations

from typing import Final

__all__ = [
    "KILLED_SECONDS",
    "LAST_BYTES",
    "LEFTOVER_SECONDS",
    "SETTLE_SECONDS",
    "SILENT_SECONDS",
]

SETTLE_SECONDS: Final = 0.05
"""How long what a job leaves behind may take to end without being told, as the rest of a pipeline does."""

LEFTOVER_SECONDS: Final = 0.5
"""How long what a job leaves behind may take to end by itself when it is told to."""

KILLED_SECONDS: Final = 5.0
"""How long a killed process may take to end. Longer ones hang in the system, and nobody can end them."""

SILENT_SECONDS: Final = 2.0
"""When nothing of a tree is left, an output that is silent for so long, and has no end, is somebody else's."""

LAST_BYTES: Final = 4 * 1024 * 1024
"""So much was in no pipe when the last process of a tree ended: what comes beyond it is somebody else's."""
