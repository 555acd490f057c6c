"""How the tutorial writes a number, and a header before what it describes."""

from __future__ import annotations

import json
from typing import Any, Final

from sockserv.wire.framing import Prefix

__all__ = ["INT", "framed"]

INT: Final = Prefix("<i")
"""What `struct.pack("i", ...)` gives on nearly every machine: little-endian, signed, 32 bit."""


def framed(header: dict[str, Any]) -> bytes:
    """A header in JSON, with its length before it."""
    encoded = json.dumps(header).encode()
    return INT.pack(len(encoded)) + encoded
