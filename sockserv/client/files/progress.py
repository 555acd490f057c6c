"""How far transfers have come."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TypeAlias

import attrs

from sockserv.client.files.plan import Step
from sockserv.errors import SockservError

__all__ = ["Progress", "State", "Summary", "Transfer", "ignore"]


class State(StrEnum):
    """What has become of one step."""

    RUNNING = "running"
    DONE = "done"
    SAME = "same"
    """Nothing was to be done: the very same file was there already."""
    FAILED = "failed"


@attrs.frozen
class Transfer:
    """How far one step has come.

    `done_bytes` of the file's `step.size` are where they should be, and `resumed_bytes` of these were there before.
    """

    step: Step
    state: State
    done_bytes: int = 0
    resumed_bytes: int = 0
    error: SockservError | None = None


Progress: TypeAlias = Callable[[Transfer], object]
"""Is told of each transfer, some times a second and when it has ended. Must not block."""


def ignore(transfer: Transfer) -> None:
    """Where nobody wants to know."""


@attrs.define(kw_only=True)
class Summary:
    """What came of many steps: how many of each kind, and the bytes that have travelled for those that are done."""

    done: int = 0
    same: int = 0
    failed: int = 0
    sent_bytes: int = 0

    @property
    def steps(self) -> int:
        """How many there were."""
        return self.done + self.same + self.failed

    def count(self, transfer: Transfer) -> None:
        """Count a step that has come to its end."""
        match transfer.state:
            case State.DONE:
                self.done += 1
                self.sent_bytes += transfer.done_bytes - transfer.resumed_bytes
            case State.SAME:
                self.same += 1
            case State.FAILED:
                self.failed += 1
