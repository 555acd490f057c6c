"""What the tests of TLS have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from twisted.logger import LogEvent, capturedLogs, formatEvent


class Logged:
    """What is logged during a test."""

    def __init__(self, events: Sequence[LogEvent]) -> None:
        self._events = events

    @property
    def text(self) -> str:
        return "\n".join(map(formatEvent, self._events))


@pytest.fixture
def logged() -> Iterator[Logged]:
    with capturedLogs() as events:
        yield Logged(events)
