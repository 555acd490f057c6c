"""Code that a daemon needs when somebody first asks for something: it is loaded when the daemon has begun to listen.

Until then it would make the start longer; much later, the files could be those of another version, installed meanwhile.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

__all__ = ["LATE_PARTS", "load_late_parts"]

LATE_PARTS: Final = (
    "sockserv.services.files",
    "sockserv.services.execution.assembly",
    "sockserv.services.execution.policy.service",
    "sockserv.services.admin",
    "sockserv.trust.identities_edits",
    "sockserv.services.chat",
    "sockserv.services.chat.database",
    "sockserv.services.chat.hub",
    "sockserv.services.chat.store",
)
"""Modules that are imported within functions of a daemon, whatever its settings are."""


def load_late_parts() -> None:
    """Import them all, in a thread: calls go on meanwhile, and one that needs a module waits for it."""
    for name in LATE_PARTS:
        import_module(name)
