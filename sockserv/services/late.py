"""Services that are made when somebody first asks for one of their operations."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from sockserv.services.api import Service

__all__ = ["LateServices"]


@attrs.frozen
class LateServices:
    """Services that a server makes when somebody first asks for one of their operations.

    A program with many of them starts sooner, and is smaller for as long as nobody needs them: what `make` needs can be
    imported there.

    `prefixes` are what the names of all their operations begin with, each up to the first dot, and with it (`files.`).
    `make` makes the services. What it raises is the answer to the call, as if the operation had raised it, and it is
    called again for the next one.
    """

    prefixes: tuple[str, ...]
    make: Callable[[], Iterable[Service]]
