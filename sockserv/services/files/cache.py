"""Digests that are known already, so that no content is read twice for them."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Final

from sockserv.files.status import etag_of

__all__ = ["DigestCache"]

_MAX_DIGESTS: Final = 16_384
_SETTLED_NS: Final = 2_000_000_000
"""A file that was changed so shortly ago may change again, and have the same times."""


class DigestCache:
    """The digests of files as they were, by what tells one content from another; may be used from any thread.

    `now_ns` is the time of day, by which files are dated. The ones that were used last are kept.
    """

    def __init__(self, *, now_ns: Callable[[], int], max_digests: int = _MAX_DIGESTS) -> None:
        self._now_ns = now_ns
        self._max_digests = max_digests
        self._lock = Lock()
        self._known: OrderedDict[tuple[str, str], str] = OrderedDict()

    def find(self, status: os.stat_result, algorithm: str = "blake3") -> str | None:
        """The digest of a file with this status, if it is known."""
        key = etag_of(status), algorithm
        with self._lock:
            digest = self._known.get(key)
            if digest is not None:
                self._known.move_to_end(key)
            return digest

    def learn_written(self, status: os.stat_result, digest: str) -> None:
        """Remember the BLAKE3 digest of a file that we have just written ourselves."""
        self._add((etag_of(status), "blake3"), digest)

    def learn_read(self, status: os.stat_result, digest: str, algorithm: str = "blake3") -> None:
        """Remember the digest of a file that was read, unless somebody may be just writing it."""
        if self._now_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _SETTLED_NS:
            self._add((etag_of(status), algorithm), digest)

    def _add(self, key: tuple[str, str], digest: str) -> None:
        with self._lock:
            self._known[key] = digest
            self._known.move_to_end(key)
            if len(self._known) > self._max_digests:
                self._known.popitem(last=False)
