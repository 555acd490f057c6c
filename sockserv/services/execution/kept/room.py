"""How much may be kept, of one identity and of all."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from sockserv.execution.errors import TooManyJobs
from sockserv.limits import KeptLimits

__all__ = ["Taken", "check_room"]


@attrs.frozen
class Taken:
    """A job of an identity that has so many bytes of the disk, or may come to have them."""

    identity: str
    kept_bytes: int


def check_room(limits: KeptLimits, taken: Iterable[Taken], wanted: Taken) -> None:
    """Raises `TooManyJobs` when there is no room for one more job; its details name the limit."""
    everybody = tuple(taken)
    own = tuple(one for one in everybody if one.identity == wanted.identity)
    for rule, what, jobs, is_size in (
        ("max_identity_jobs", "jobs of this identity are kept", own, False),
        ("max_jobs", "jobs are kept", everybody, False),
        ("max_identity_bytes", "bytes may be kept for this identity", own, True),
        ("max_bytes", "bytes may be kept", everybody, True),
    ):
        limit = getattr(limits, rule)
        used = sum(one.kept_bytes for one in jobs) if is_size else len(jobs)
        more = wanted.kept_bytes if is_size else 1
        if used + more > limit:
            raise TooManyJobs(
                f"{used} {what}, and {more} more would exceed the limit ({rule}, {limit}): remove jobs that have ended",
                details={"rule": f"kept.{rule}", "limit": limit},
            )
