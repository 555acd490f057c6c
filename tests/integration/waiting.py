"""Waiting while the reactor of the tests works."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from tests.integration.conftest import DEADLINE_SECONDS

__all__ = ["later", "until_so"]


def later(seconds: float) -> Deferred[None]:
    return deferLater(cast(IReactorTime, reactor), seconds)


async def until_so(condition: Callable[[], object]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        await later(0.01)
