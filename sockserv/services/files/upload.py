"""Storing a file: beside its name first, checked against the sender's digest, on the disk, and then under its name.

At no time does anybody see a part of it under its name, whatever happens: the new file takes the name in one step,
after the disk has it. When the caller hears that it is stored, the disk has the name, too.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import suppress
from enum import Enum
from typing import Final

import attrs

from sockserv.errors import InvalidArgument
from sockserv.files.arguments import PutArguments
from sockserv.files.digests import Hasher, digest_of, new_hasher
from sockserv.files.errors import Changed, DigestMismatch, NoSpace, NotFound
from sockserv.files.facts import Kept, Stored
from sockserv.files.jail import explained
from sockserv.files.status import etag_of
from sockserv.services.api import Piece
from sockserv.services.files.cache import DigestCache
from sockserv.services.files.download import SMALL_BYTES, digesting
from sockserv.services.files.folders import Folder
from sockserv.services.files.parents import Parent, Parents
from sockserv.services.files.partials import Partials, open_kept, open_new
from sockserv.services.files.quota import Quota, Reservation
from sockserv.services.files.tree import check_target, publish

__all__ = ["Upload", "Wants"]

_PRIVATE_MODE: Final = 0o600
_USUAL_MODE: Final = 0o666
"""Of which the account's umask takes something away."""


_MAX_PIECES: Final = 512
"""More in one call than any system takes are not tried."""


class Wants(Enum):
    """What an upload needs for its next step."""

    CONTENT = "content"
    """The next pieces of it; none at its end."""
    A_TURN = "a turn"
    """Nothing, but somebody else may have one."""
    OTHERS = "others"
    """Nothing, but what others have come to this point may be done together with it."""


@attrs.define(kw_only=True)
class Upload:
    """One file on its way. `digest` is what it has to have, once that is known.

    `partial` is the name that it has until it is whole.
    """

    args: PutArguments
    folder: Folder
    partial: str
    partials: Partials
    quota: Quota
    digests: DigestCache
    digest: str | None
    position: int = 0
    """Up to where there is content."""

    def steps(self, parents: Parents) -> Generator[Wants, Sequence[Piece], Stored]:
        """The steps, as `Wants` says; blocks. Closing the generator before its end keeps what can be resumed.

        Raises `FilesError`, and `InvalidArgument` when more or less content comes than was said.
        """
        args = self.args
        above, name = parents.of(self.folder.jail, args.path, make=args.parents)
        parent = above.descriptor
        with (
            explained(args.path),
            self.partials.claim(self.partial, parent, args.path),
            self.quota.reservation() as room,
        ):
            replaced = self._look_at_target(name, parent)
            self._check_space(parent)
            if args.upload:
                self.quota.shrink()  # by what was kept of it: now it is reserved
            if args.size is not None:
                room.cover(args.size, is_all=True)
            file, hasher = yield from self._open(parent, replaced)
            try:
                yield from self._receive(file, hasher, room)
                digest = self._check(hasher)
                self._finish(file, replaced)
                status = yield from self._publish(file, above, name)
            except GeneratorExit:
                # It broke off: what is there is kept for its sender, if that has a name for it.
                if args.upload:
                    room.kept_bytes = self.position
                else:
                    self._discard(parent)
                raise
            except BaseException:
                self._discard(parent)
                raise
            finally:
                os.close(file)
            room.kept_bytes = status.st_size
            if replaced is not None:
                self.quota.shrink()
        self.digests.learn_written(status, digest)
        return Stored(size=status.st_size, etag=etag_of(status), digest=digest)

    def _look_at_target(self, name: str, parent: int) -> os.stat_result | None:
        """What the file will replace, None for nothing. Raises what says that it may not be put here."""
        return check_target(name, parent, self.args.path, overwrite=self.args.overwrite)

    def _take_name(self, name: str, parent: int) -> None:
        """Give the file its name, if that may still be taken."""
        publish(
            self.partial,
            name,
            self.args.path,
            source_fd=parent,
            target_fd=parent,
            overwrite=self.args.overwrite,
        )

    def _check_space(self, parent: int) -> None:
        """Who asks for more than there is hears it before sending it."""
        missing = (self.args.size or 0) - self.args.offset
        # What is little has come by now.
        if missing > SMALL_BYTES:
            system = os.fstatvfs(parent)
            free = system.f_bavail * system.f_frsize
            if missing > free:
                raise NoSpace(
                    f"{self.args.path!r}: the disk has room for {free} bytes, not for {missing}",
                    details={"path": self.args.path, "free_bytes": free},
                )

    def _open(
        self, parent: int, replaced: os.stat_result | None
    ) -> Generator[Wants, Sequence[Piece], tuple[int, Hasher]]:
        """A descriptor of the partial, and a hasher that has seen what is in it."""
        hasher = new_hasher()
        offset = self.args.offset
        if not offset:
            is_usual = self.args.mode is None and replaced is None
            mode = _USUAL_MODE if is_usual else _PRIVATE_MODE
            return open_new(self.partial, parent, mode=mode), hasher
        file = open_kept(self.partial, parent)
        kept = 0 if file is None else os.fstat(file).st_size
        if file is None or kept < offset:
            if file is not None:
                os.close(file)
            raise Changed(
                f"{self.args.path!r}: {kept} bytes of this upload were kept, not {offset}",
                details={"path": self.args.path, "offset": kept},
            )
        try:
            for _ in digesting(file, offset, hasher, self.args.path):
                yield Wants.A_TURN
            os.ftruncate(file, offset)
        except BaseException:
            os.close(file)
            raise
        self.position = offset
        return file, hasher

    def _receive(
        self, file: int, hasher: Hasher, room: Reservation
    ) -> Generator[Wants, Sequence[Piece], None]:
        size = self.args.size
        while pieces := (yield Wants.CONTENT):
            end = self.position + sum(map(len, pieces))
            if size is not None and end > size:
                raise InvalidArgument(
                    f"more content came than the {size} bytes that were said",
                    details={"size": size},
                )
            room.cover(end)
            _write(file, pieces, self.position)
            for piece in pieces:
                hasher.update(piece)
            self.position = end
            # Nothing of it is to stay in memory while more is waited for.
            del piece, pieces
        if size is not None and self.position < size:
            raise InvalidArgument(
                f"the content ended after {self.position} of the {size} bytes that were said",
                details={"size": size},
            )

    def _check(self, hasher: Hasher) -> str:
        digest = digest_of(hasher)
        if self.digest is None:
            raise InvalidArgument("nothing has said what the digest of the content is")
        if digest != self.digest:
            raise DigestMismatch(
                f"{self.args.path!r}: what has arrived has the digest {digest}, not {self.digest}",
                details={"path": self.args.path, "digest": digest},
            )
        return digest

    def _finish(self, file: int, replaced: os.stat_result | None) -> None:
        """Give the file the mode and the time that it is to have, and let the disk begin with a small one."""
        mode = self.args.mode
        if mode is None and replaced is not None:
            mode = replaced.st_mode & 0o777
        if mode is not None:
            os.fchmod(file, mode)
        if self.args.mtime_ns is not None:
            os.utime(file, ns=(self.args.mtime_ns, self.args.mtime_ns))
        if 0 < self.position <= SMALL_BYTES:
            _begin_writing(file)

    def _publish(
        self, file: int, above: Parent, name: str
    ) -> Generator[Wants, Sequence[Piece], os.stat_result]:
        """Have the file on the disk, then under its name, then that on the disk; gives what the system says of it."""
        yield Wants.OTHERS
        os.fsync(file)
        yield Wants.OTHERS
        self._take_name(name, above.descriptor)
        above.is_changed = True
        status = os.fstat(file)
        yield Wants.OTHERS
        above.sync()
        return status

    def _discard(self, parent: int) -> None:
        with suppress(OSError):  # the first error is the one to hear of; it will expire
            os.unlink(self.partial, dir_fd=parent)

    def alone(self) -> Generator[Wants, Sequence[Piece], Stored]:
        """The same steps, without waiting for others."""
        with Parents() as parents:
            steps = self.steps(parents)
            try:
                wants = next(steps)
                while True:
                    wants = steps.send(() if wants is Wants.OTHERS else (yield wants))
            except StopIteration as stop:
                stored: Stored = stop.value
                return stored
            finally:
                steps.close()


def kept_of(
    folder: Folder, path: str, partial: str, partials: Partials
) -> Generator[int, None, Kept]:
    """What was kept of a broken upload, and its digest; yields now and then. Raises `FilesError`."""
    hasher = new_hasher()
    size = 0
    with (
        suppress(NotFound),
        folder.jail.parent(path) as (parent, _),
        partials.claim(partial, parent, path),
    ):
        file = open_kept(partial, parent)
        if file is not None:
            try:
                size = os.fstat(file).st_size
                yield from digesting(file, size, hasher, path)
            finally:
                os.close(file)
    return Kept(offset=size, digest=digest_of(hasher))


def _begin_writing(file: int) -> None:
    """Have the disk begin with a file that will be synced, so that it meets many of them together.

    Linux begins to write what it is told that nobody will read: it can forget only what is written.
    """
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)


def _write(file: int, pieces: Sequence[Piece], position: int) -> None:
    """Write all of the pieces, however many the system takes at once."""
    if len(pieces) > _MAX_PIECES:
        pieces = [b"".join(pieces)]
    size = sum(map(len, pieces))
    done = os.pwritev(file, pieces, position)
    if done < size:
        rest = memoryview(b"".join(pieces))
        while done < size:
            done += os.pwrite(file, rest[done:], position + done)
