"""Slowing down whoever guesses: the answers to failed logins are held back, for each source by itself.

Invariants:

1. A login that succeeds is never slowed: who gives the wrong password in somebody's name locks nobody out.
2. An answer counts as held until its time, even if its connection is gone: otherwise one would hang up and try
   again instead of waiting.
3. The memory is bounded, and by what is remembered, not by how much is tried.
"""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address
from typing import Final

import attrs
from twisted.internet.interfaces import IReactorTime

from sockserv.limits import Limits
from sockserv.trust.origin import Origin

__all__ = ["Throttle", "source_of"]

_FIRST_DELAY_SECONDS: Final = 0.1
_HALVING_SECONDS: Final = 60.0

_NETWORK_BYTES: Final = 8
"""Of an IPv6 address: its first half is what a provider gives one customer, who has all of the second half."""


def source_of(origin: Origin) -> str:
    """Who is taken for one and the same guesser: an IPv4 address, an IPv6 network (/64), or a local account."""
    if origin.address is None:
        return "local" if origin.uid is None else f"local {origin.uid}"
    try:
        address = ip_address(origin.address)
    except ValueError:
        return origin.address
    if isinstance(address, IPv6Address):
        network = address.packed[:_NETWORK_BYTES] + bytes(_NETWORK_BYTES)
        return f"{IPv6Address(network)}/64"
    return origin.address


@attrs.define
class _Source:
    """What is remembered of one source: how many logins have failed, as of `counted`, and until
    when answers are held.
    """

    failures: float = 0.0
    counted: float = 0.0
    held_until: list[float] = attrs.Factory(list)


class Throttle:
    """Says how long the answer to a failed login is held back.

    That is a tenth of a second for the first from a source, twice as long for each further one, up to
    `max_login_delay_seconds`. The number of failures halves each minute.
    """

    def __init__(self, clock: IReactorTime, limits: Limits) -> None:
        self._clock = clock
        self._limits = limits
        # The one whose last failure is the longest ago comes first, and is the first to be forgotten.
        self._sources: OrderedDict[str, _Source] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sources)

    def is_full(self, source: str) -> bool:
        """Whether so many answers to the source are held back that it may try nothing more for now."""
        known = self._sources.get(source)
        if known is None or len(known.held_until) < self._limits.max_held_logins:
            return False
        self._forget_answered(known)
        return len(known.held_until) >= self._limits.max_held_logins

    def failed(self, source: str, *, started: float) -> float:
        """A login that was begun at the time `started` has failed; gives the seconds to hold its answer back.

        They count from the beginning: how long the credentials took to check is not to be seen.
        """
        now = self._clock.seconds()
        known = self._sources.setdefault(source, _Source(counted=now))
        self._sources.move_to_end(source)
        # The clock may have been set back.
        known.failures *= 0.5 ** (max(0.0, now - known.counted) / _HALVING_SECONDS)
        known.counted = now
        most = self._limits.max_login_delay_seconds
        delay = min(most, _FIRST_DELAY_SECONDS * 2**known.failures)
        if delay < most:
            known.failures += 1
        until = max(now, started + delay)
        self._forget_answered(known)
        known.held_until.append(until)
        while len(self._sources) > self._limits.max_login_sources:
            self._sources.popitem(last=False)
        return until - now

    def _forget_answered(self, known: _Source) -> None:
        now = self._clock.seconds()
        latest = now + self._limits.max_login_delay_seconds
        known.held_until = [until for until in known.held_until if now < until <= latest]
