"""How many bytes may be below a folder, those that are still on their way among them.

What is there is measured by going through the tree, now and then; in between, what uploads add is added. Nothing is
subtracted: before somebody is refused, the tree is measured again, if it may have less by now, and was not measured
just before. So what is wrong is wrong on the safe side, however many calls add and remove at the same time.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Final

from sockserv.files.errors import NotFound, QuotaExceeded
from sockserv.files.jail import Jail
from sockserv.files.names import is_reserved
from sockserv.services.files.partials import Partials
from sockserv.services.files.walking import walk

__all__ = ["Quota", "Reservation", "measure"]

_MIN_AGE_SECONDS: Final = 1.0
_MAX_AGE_SECONDS: Final = 60.0
_SHARE: Final = 20
"""Measuring takes at most this part of the time, once for `_SHARE`."""

_SHARE_AFTER_REMOVAL: Final = 4
"""The same where there may be less than was measured: whoever waits for it has a thread that others need."""

_AHEAD_BYTES: Final = 16 * 1024 * 1024
"""An upload of unknown size reserves so much more each time."""


def measure(jail: Jail, partials: Partials, path: str = "") -> int:
    """How many bytes the files in a directory and below have, without those that are being uploaded; blocks.

    One that is not there has none.
    """
    used = 0
    with suppress(NotFound):
        for found in walk(jail, path, recursive=True, skip_denied=True):
            for name, status in found.entries:
                if stat.S_ISREG(status.st_mode) and not (
                    is_reserved(name) and partials.is_claimed(name, found.directory)
                ):
                    used += status.st_size
    return used


class Quota:
    """The quota of one folder; may be used from any thread, and blocks.

    `limit_bytes` is None where there is none. `measure` finds out how many bytes are there, without those of uploads
    that run. `seconds` is a clock that never goes back.
    """

    def __init__(
        self,
        limit_bytes: int | None,
        measure: Callable[[], int],
        *,
        seconds: Callable[[], float],
    ) -> None:
        self.limit_bytes = limit_bytes
        self._measure = measure
        self._seconds = seconds
        self._lock = Lock()
        self._used = 0
        self._reserved = 0
        self._has_shrunk = False
        self._measured_at: float | None = None
        self._took_seconds = 0.0

    @contextmanager
    def reservation(self) -> Iterator[Reservation]:
        """Room for one upload, let go of when the block ends."""
        reservation = Reservation(self)
        try:
            yield reservation
        finally:
            self._settle(reservation)

    def reserve(self, count: int) -> None:
        """Take room for `count` bytes. Raises `QuotaExceeded`, and then nothing is taken."""
        limit = self.limit_bytes
        if limit is None:
            return
        with self._lock:
            if self._is_older_than(max(_MAX_AGE_SECONDS, _SHARE * self._took_seconds)):
                self._measure_again()
            if self._used + self._reserved + count > limit and self._may_have_changed():
                self._measure_again()
            used = self._used + self._reserved
            if used + count > limit:
                raise QuotaExceeded(
                    f"{count} bytes more would exceed the quota of {limit}: {used} are used, or on their way",
                    details={"quota_bytes": limit, "used_bytes": used},
                )
            self._reserved += count

    def shrink(self) -> None:
        """There are fewer bytes than before: to be called when that is so. Does not block."""
        self._has_shrunk = True

    def used(self) -> int:
        """How many bytes are used, or on their way."""
        with self._lock:
            if self._may_have_changed():
                self._measure_again()
            return self._used + self._reserved

    def _settle(self, reservation: Reservation) -> None:
        with self._lock:
            self._reserved -= reservation.reserved_bytes
            self._used += reservation.kept_bytes

    def _may_have_changed(self) -> bool:
        """Whether there may be something else than was measured, and time to measure again."""
        if self._has_shrunk:
            return self._is_older_than(_SHARE_AFTER_REMOVAL * self._took_seconds)
        return self._is_older_than(max(_MIN_AGE_SECONDS, _SHARE * self._took_seconds))

    def _is_older_than(self, seconds: float) -> bool:
        return self._measured_at is None or self._seconds() - self._measured_at >= seconds

    def _measure_again(self) -> None:
        begun = self._seconds()
        self._has_shrunk = False
        self._used = self._measure()
        self._measured_at = self._seconds()
        self._took_seconds = self._measured_at - begun


class Reservation:
    """The room that one upload has taken. `kept_bytes` is what stays of it on the disk at the end."""

    def __init__(self, quota: Quota) -> None:
        self._quota = quota
        self.reserved_bytes = 0
        self.kept_bytes = 0

    def cover(self, count: int, *, is_all: bool = False) -> None:
        """See that `count` bytes in all have room; `is_all` says that it will not be more.

        Raises `QuotaExceeded`.
        """
        if count > self.reserved_bytes and self._quota.limit_bytes is not None:
            missing = count - self.reserved_bytes
            if not is_all:
                try:
                    self._take(missing + _AHEAD_BYTES)
                    return
                except QuotaExceeded:
                    pass  # it is near the end
            self._take(missing)

    def _take(self, count: int) -> None:
        self._quota.reserve(count)
        self.reserved_bytes += count
