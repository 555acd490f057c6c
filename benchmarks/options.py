"""What the command line decides for every benchmark."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from benchmarks.clients.load import Waiting


@attrs.frozen(kw_only=True)
class Options:
    """How much to measure.

    :ivar quick: small sizes and short runs; to see that it works, not to judge by.
    :ivar rounds: how often every peer has its turn.
    :ivar peers: run only these; empty means all.
    :ivar say: shows progress.
    """

    quick: bool = False
    rounds: int = 5
    peers: frozenset[str] = frozenset()
    waiting: Waiting = Waiting.SPIN
    say: Callable[[str], None] = lambda text: None

    def wants(self, peer: str) -> bool:
        """Whether this peer takes part."""
        return not self.peers or peer in self.peers
