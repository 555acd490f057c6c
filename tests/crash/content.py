"""Files whose content says what it has to be."""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Final

from blake3 import blake3

__all__ = ["content_of", "digest_of", "version_of"]

_SIZES: Final = (0, 100, 5_000, 100_000, 400_000, 3_000_000)


@lru_cache(maxsize=64)
def content_of(name: str, version: int) -> bytes:
    """The content of a version of a file: some size, and different in every part from that of any other."""
    chosen = random.Random(f"{name} {version}")
    head = f"{name} {version}\n".encode()
    return head + chosen.randbytes(chosen.choice(_SIZES))


def digest_of(content: bytes) -> str:
    """What a file of this content is verified by."""
    return f"blake3:{blake3(content).hexdigest()}"


def version_of(name: str, content: bytes) -> int:
    """Which version of a file this is. Raises `ValueError` unless it is one from the first byte to the last."""
    first, _, _ = content.partition(b"\n")
    said, _, version = first.decode().rpartition(" ")
    if said != name or content != content_of(name, int(version)):
        raise ValueError(f"{name} has {len(content)} bytes that are no version of it: {first!r}")
    return int(version)
