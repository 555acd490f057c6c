"""What tests of kept jobs begin with."""

from __future__ import annotations

from typing import Any

from sockserv.keeping.record import Record

__all__ = ["MARK", "record"]

MARK = 2**62 + 1


def record(**fields: Any) -> Record:
    """What is written down of some job."""
    default: dict[str, Any] = {
        "identity": "alice",
        "job": "build",
        "command": "make all",
        "rule": "any",
        "started_at": 1000.0,
        "spool_bytes": 100,
        "expiry_seconds": 60.0,
        "mark": MARK,
    }
    return Record(**(default | fields))
