"""Digests of content, with the name of the algorithm before them: `blake3:` and hexadecimal digits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final, Protocol

from blake3 import blake3

__all__ = ["DIGEST_ALGORITHMS", "Hasher", "digest_of", "new_hasher"]


class Hasher(Protocol):
    """What digests bytes as they come; it lets go of the interpreter meanwhile."""

    def update(self, data: bytes | memoryview, /) -> object:
        """Go on with these bytes."""

    def hexdigest(self) -> str:
        """The digest of all that came, without the algorithm's name."""


_NEW: Final[dict[str, Callable[[], Hasher]]] = {
    "blake3": blake3,
    "sha256": lambda: hashlib.sha256(usedforsecurity=False),
    "md5": lambda: hashlib.md5(usedforsecurity=False),
}

DIGEST_ALGORITHMS: Final = tuple(_NEW)
"""blake3 is what transfers are checked by; the others are what people compare by hand."""


def new_hasher(algorithm: str = "blake3") -> Hasher:
    """One that has seen nothing yet. Raises `KeyError` for what is none of `DIGEST_ALGORITHMS`."""
    return _NEW[algorithm]()


def digest_of(hasher: Hasher, algorithm: str = "blake3") -> str:
    """The digest of what the hasher has seen, as it is sent."""
    return f"{algorithm}:{hasher.hexdigest()}"
