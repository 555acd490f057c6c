"""How a link cuts a stream into deliveries: sizes in bytes, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat
from random import Random
from typing import Final

import attrs

__all__ = ["EVERY_BYTE", "RandomSizes"]

EVERY_BYTE: Final[Iterable[int]] = repeat(1)
"""Every byte comes by itself."""


@attrs.frozen
class RandomSizes:
    """Sizes from 1 to `max_bytes`, the same ones for the same `seed`, most of them small."""

    seed: int
    max_bytes: int = 4096

    def __iter__(self) -> Iterator[int]:
        random = Random(self.seed)
        while True:
            # The borders that matter are near each other: a prefix has 4 bytes, a header some 50.
            yield random.randint(1, min(self.max_bytes, random.choice((2, 8, 64, self.max_bytes))))
