"""Reading a file: what is said of it first, its content, and its digest. Everything here blocks."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Final

import attrs
import msgspec

from sockserv.errors import InvalidArgument
from sockserv.files.arguments import GetArguments
from sockserv.files.digests import Hasher, digest_of, new_hasher
from sockserv.files.errors import Changed
from sockserv.files.facts import Digest, Head
from sockserv.files.jail import Jail, explained
from sockserv.files.status import etag_of
from sockserv.services.files.cache import DigestCache

__all__ = ["SMALL_BYTES", "Download", "changed_meanwhile", "digest_file", "digesting"]

SMALL_BYTES: Final = 256 * 1024
"""Up to this size a file is read at once."""

_PIECE_BYTES: Final = 1024 * 1024
_STEP_BYTES: Final = 8 * 1024 * 1024
"""So much is digested in one step."""


@attrs.define(kw_only=True)
class Download:
    """A file that is asked for, and what becomes known of it step by step.

    `head` is what is said first, as JSON; `count` bytes from `offset` on are to be sent. `content` is that if it is
    little; else `file` is a descriptor that is open until the steps are closed. `digest` is that of the whole file, if
    it is asked for and known by now.
    """

    jail: Jail
    args: GetArguments
    digests: DigestCache
    head: bytes = b""
    etag: str = ""
    size: int = 0
    mtime_ns: int = 0
    count: int = 0
    content: bytes | None = None
    file: int | None = None
    digest: str | None = None

    @property
    def offset(self) -> int:
        """Where what is to be sent begins."""
        return self.args.offset

    @property
    def needs_digest(self) -> bool:
        """Whether the digest is asked for, and not known."""
        # Who goes on with what broke off has the rest, and wants to know that all of it is right.
        return self.digest is None and self.args.digest and self.args.count is None

    def steps(self) -> Generator[int, None, None]:
        """Open the file, and digest it; blocks.

        The first step opens it, and is the only one for a small file, which it reads. The others yield up to where
        they have digested, at the end its size, again and again, until they are closed. Raises `FilesError`, and
        `InvalidArgument` for an offset beyond the end.
        """
        file = self.jail.open_file(self.args.path)
        try:
            with explained(self.args.path):
                status = os.fstat(file)
                self._examine(status)
                if max(self.count, self.size if self.needs_digest else 0) <= SMALL_BYTES:
                    self._read(file, status)
                    return
                self.file = file
                yield 0
                if self.needs_digest:
                    hasher = new_hasher()
                    yield from digesting(file, self.size, hasher, self.args.path)
                    self._learn(file, status, hasher)
                while True:
                    yield self.size
        finally:
            self.file = None
            os.close(file)

    def check_unchanged(self, file: int) -> None:
        """Raises `Changed` when somebody has written to the file since it was opened."""
        now = os.fstat(file)
        # Its other times and its mode may change: somebody has given it, or taken from it, a name.
        if (now.st_size, now.st_mtime_ns) != (self.size, self.mtime_ns):
            raise changed_meanwhile(self.args.path)

    def _examine(self, status: os.stat_result) -> None:
        args = self.args
        self.etag = etag_of(status)
        if args.etag not in (None, self.etag):
            raise Changed(
                f"{args.path!r} is not the file any more that was meant",
                details={"path": args.path, "etag": self.etag},
            )
        self.size = status.st_size
        if args.offset > self.size:
            raise InvalidArgument(
                f"offset {args.offset} is beyond the end of {args.path!r}, which has {self.size} bytes",
                details={"size": self.size},
            )
        rest = self.size - args.offset
        self.count = rest if args.count is None else min(rest, args.count)
        self.mtime_ns = status.st_mtime_ns
        head = Head(
            size=self.size,
            etag=self.etag,
            mtime_ns=self.mtime_ns,
            mode=status.st_mode & 0o777,
        )
        self.head = msgspec.json.encode(head)
        if self.needs_digest:
            self.digest = self.digests.find(status)

    def _read(self, file: int, status: os.stat_result) -> None:
        """Take the content of a small file."""
        content = b""
        while len(content) < self.count:
            piece = os.pread(file, self.count - len(content), self.offset + len(content))
            if not piece:
                raise changed_meanwhile(self.args.path)
            content += piece
        self.content = content
        if self.needs_digest:
            hasher = new_hasher()
            if self.offset:
                for _ in digesting(file, self.offset, hasher, self.args.path):
                    pass
            hasher.update(content)
            self._learn(file, status, hasher)
        else:
            self.check_unchanged(file)

    def _learn(self, file: int, status: os.stat_result, hasher: Hasher) -> None:
        self.check_unchanged(file)
        self.digest = digest_of(hasher)
        self.digests.learn_read(status, self.digest)


def digesting(file: int, size: int, hasher: Hasher, path: str) -> Generator[int, None, None]:
    """Give the first `size` bytes of an open file to a hasher; yields now and then how many it has seen.

    Raises `Changed` that names `path` when the file ends before, and `OSError`.
    """
    buffer = memoryview(bytearray(min(size, _PIECE_BYTES)))
    position = 0
    step_end = _STEP_BYTES
    while position < size:
        count = os.preadv(file, [buffer[: size - position]], position)
        if not count:
            raise changed_meanwhile(path)
        hasher.update(buffer[:count])
        position += count
        if position >= step_end and position < size:
            step_end = position + _STEP_BYTES
            yield position


def digest_file(
    jail: Jail, path: str, algorithm: str, digests: DigestCache
) -> Generator[int, None, Digest]:
    """The digest of a file; yields now and then."""
    file = jail.open_file(path)
    try:
        with explained(path):
            status = os.fstat(file)
            digest = digests.find(status, algorithm)
            if digest is None:
                hasher = new_hasher(algorithm)
                yield from digesting(file, status.st_size, hasher, path)
                digest = digest_of(hasher, algorithm)
                if etag_of(os.fstat(file)) != etag_of(status):
                    raise changed_meanwhile(path)
                digests.learn_read(status, digest, algorithm)
    finally:
        os.close(file)
    return Digest(digest=digest, size=status.st_size, etag=etag_of(status))


def changed_meanwhile(path: str) -> Changed:
    """The error for a file that is being written to while it is read."""
    return Changed(f"{path!r} was changed while it was read", details={"path": path})
