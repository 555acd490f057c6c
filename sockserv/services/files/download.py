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
from sockserv.files.facts import Digest
from sockserv.files.jail import Jail, explained
from sockserv.files.status import etag_of
from sockserv.services.files.cache import DigestCache

__all__ = ["SMALL_BYTES", "Opened", "digest_file", "digesting", "open_for_sending"]

SMALL_BYTES: Final = 256 * 1024
"""Up to this size a file is read at once."""

_PIECE_BYTES: Final = 1024 * 1024
_STEP_BYTES: Final = 8 * 1024 * 1024
"""So much is digested in one step."""


@attrs.frozen
class Head:
    """What is said of a file before its content comes."""

    size: int
    etag: str
    mtime_ns: int
    mode: int


@attrs.define(kw_only=True)
class Opened:
    """A file that is to be sent: `count` bytes of it from `offset` on.

    `content` is that if it is little, and then `file` is None; else it is a descriptor to close. `digest` is that of the
    whole file, if it is asked for and known. `head` is what is said first, as JSON.
    """

    path: str
    head: bytes
    status: os.stat_result
    offset: int
    count: int
    content: bytes | None = None
    file: int | None = None
    digest: str | None = None
    wants_digest: bool = False

    @property
    def is_large(self) -> bool:
        """Whether there is too much to read, or to digest, for doing it at once."""
        undigested = self.status.st_size if self.wants_digest and self.digest is None else 0
        return max(self.count, undigested) > SMALL_BYTES

    @property
    def etag(self) -> str:
        """The file's etag when it was opened."""
        return etag_of(self.status)

    def check_unchanged(self) -> None:
        """Raises `Changed` when somebody has written to the file since it was opened."""
        assert self.file is not None
        now = os.fstat(self.file)
        # Its other times and its mode may change: somebody has given it, or taken from it, a name.
        if (now.st_size, now.st_mtime_ns) != (self.status.st_size, self.status.st_mtime_ns):
            raise changed_meanwhile(self.path)


def open_for_sending(jail: Jail, args: GetArguments, digests: DigestCache) -> Opened:
    """Open a file; a small one is read and digested at once, and closed. Raises `FilesError`."""
    file = jail.open_file(args.path)
    try:
        with explained(args.path):
            opened = _examine(file, args, digests)
            if opened.is_large:
                return opened
            _read(opened, digests)
    except BaseException:
        os.close(file)
        raise
    os.close(file)
    opened.file = None
    return opened


def _examine(file: int, args: GetArguments, digests: DigestCache) -> Opened:
    status = os.fstat(file)
    etag = etag_of(status)
    if args.etag is not None and args.etag != etag:
        raise Changed(
            f"{args.path!r} is not the file any more that was meant",
            details={"path": args.path, "etag": etag},
        )
    size = status.st_size
    if args.offset > size:
        raise InvalidArgument(
            f"offset {args.offset} is beyond the end of {args.path!r}, which has {size} bytes",
            details={"size": size},
        )
    rest = size - args.offset
    count = rest if args.count is None else min(rest, args.count)
    # Who goes on with what broke off has the rest, and wants to know that all of it is right.
    wants_digest = args.digest and args.count is None
    head = Head(size, etag, status.st_mtime_ns, status.st_mode & 0o777)
    return Opened(
        path=args.path,
        head=msgspec.json.encode(head),
        status=status,
        offset=args.offset,
        count=count,
        file=file,
        digest=digests.find(status) if wants_digest else None,
        wants_digest=wants_digest,
    )


def _read(opened: Opened, digests: DigestCache) -> None:
    """Take the content of a small file."""
    assert opened.file is not None
    content = b""
    while len(content) < opened.count:
        piece = os.pread(opened.file, opened.count - len(content), opened.offset + len(content))
        if not piece:
            raise changed_meanwhile(opened.path)
        content += piece
    if opened.wants_digest and opened.digest is None:
        hasher = new_hasher()
        if opened.offset:
            for _ in digesting(opened.file, opened.offset, hasher, opened.path):
                pass
        hasher.update(content)
        opened.digest = digest_of(hasher)
    opened.check_unchanged()
    opened.content = content
    if opened.digest is not None:
        digests.learn_read(opened.status, opened.digest)


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
