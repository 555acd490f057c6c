"""What the calls of the files service have in common, and what each identity has of it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial

import attrs

from sockserv.files.offers import INBOX
from sockserv.services.files.cache import DigestCache
from sockserv.services.files.folders import Folder, Folders
from sockserv.services.files.gate import Gate
from sockserv.services.files.pace import Pace
from sockserv.services.files.partials import Partials
from sockserv.services.files.quota import Quota, measure
from sockserv.services.files.storing import Storing
from sockserv.trust.identities import EVERYTHING, Identity

__all__ = ["Share", "Store"]


@attrs.frozen
class Share:
    """What an identity has: its folder, how much may be there, and how fast it may go, None for as fast as can be.

    `storing` is what stores small files there.
    """

    folder: Folder
    quota: Quota
    storing: Storing
    pace: Pace | None


class Store:
    """The folders, and what is known of what is in them.

    `quota_bytes` and `rate_bytes_per_second` hold for each but the owner, None for no bound. `seconds` never goes back,
    `now_ns` is the time of day.
    """

    def __init__(
        self,
        folders: Folders,
        *,
        quota_bytes: int | None,
        rate_bytes_per_second: int | None,
        seconds: Callable[[], float],
        now_ns: Callable[[], int],
    ) -> None:
        self._folders = folders
        self._quota_bytes = quota_bytes
        self._rate_bytes_per_second = rate_bytes_per_second
        self._seconds = seconds
        self._quotas: dict[tuple[object, ...], Quota] = {}
        self._storing: dict[tuple[str, ...], Storing] = {}
        self._paces: dict[str, Pace] = {}
        self.partials = Partials(now_ns=now_ns)
        self.digests = DigestCache(now_ns=now_ns)
        self.gate = Gate()

    def folder_of(self, identity: Identity) -> Folder:
        """The folder of an identity; may be asked from any thread. Raises `FilesDenied` when it has none."""
        return self._folders.of(identity)

    def share_of(self, identity: Identity) -> Share:
        """What an identity has. Raises `FilesDenied` when that is nothing."""
        folder = self.folder_of(identity)
        is_owner = EVERYTHING in identity.permissions
        limit = None if is_owner else self._quota_bytes
        rate = None if is_owner else self._rate_bytes_per_second
        quota = self._quota(limit, folder, "")
        pace = None if rate is None else self._paces.setdefault(identity.name, Pace(rate))
        storing = self._storing.get(folder.place)
        if storing is None:
            self._storing[folder.place] = storing = Storing()
        return Share(folder, quota, storing, pace)

    def inbox_quota_of(self, identity: Identity) -> Quota:
        """What bounds that which others send to an identity: the owner's inbox has a quota, too.

        Raises `FilesDenied`.
        """
        share = self.share_of(identity)
        if share.quota.limit_bytes is None:
            return self._quota(self._quota_bytes, share.folder, INBOX)
        return share.quota

    def _quota(self, limit_bytes: int | None, folder: Folder, path: str) -> Quota:
        """That of a folder, or of the directory `path` in it."""
        key = (limit_bytes, *folder.place, path)
        quota = self._quotas.get(key)
        if quota is None:
            self._quotas[key] = quota = Quota(
                limit_bytes,
                partial(measure, folder.jail, self.partials, path),
                seconds=self._seconds,
            )
        return quota

    def sweep(self, *, expiry_seconds: float) -> Generator[int, None, int]:
        """Remove what broken uploads have left, and nobody has gone on with for a time; gives how many. Blocks."""
        removed = 0
        for folder in self._folders.known():
            removed += yield from self.partials.sweep(folder.jail, expiry_seconds=expiry_seconds)
        return removed
