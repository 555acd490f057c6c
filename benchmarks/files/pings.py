"""How long a ping takes while four large gets run, and how much the server grows by them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from benchmarks.files.contenders import OWN
from benchmarks.files.session import Contender, Program
from benchmarks.files.usage import Usage
from benchmarks.measure import MIB, Spread
from benchmarks.table import Target

__all__ = ["Pings", "measure_pings", "ping_targets"]

GETS = 4


@attrs.frozen(kw_only=True)
class Pings:
    """Seconds on the connection with the gets, and on one of another client."""

    same: dict[str, float]
    other: dict[str, float]
    growth_bytes: int


def measure_pings(taking_part: Sequence[Contender], base: Path, large: str) -> Pings:
    """Run four gets of the large file at once on one connection, and pings there and elsewhere."""
    own = next(each for each in taking_part if each.name == OWN)
    stop = base / "stop"
    others: list[dict[str, float]] = []
    with own.start(base / "served") as session:
        assert isinstance(session, Program)
        with _pinging(session, gets=GETS) as busy, _pinging(session, gets=0) as idle:
            question = {"task": "ping", "served": large, "local": str(stop)}
            elsewhere = threading.Thread(target=lambda: others.append(idle.ask(question)))
            elsewhere.start()
            try:
                with Usage(session.server_pid) as usage:
                    same = busy.ask(question)
            finally:
                stop.touch()
                elsewhere.join()
    stop.unlink()
    return Pings(same=same, other=others[0], growth_bytes=usage.growth_bytes)


def ping_targets(pings: Sequence[Pings]) -> Iterator[Target]:
    """The promises about them."""
    if not pings:
        return
    places = {
        "on the same connection": [each.same for each in pings],
        "on another": [each.other for each in pings],
    }
    for where, latencies in places.items():
        yield Target(
            what=f"p99 of pings {where} while {GETS} gets run",
            measured=Spread.of(each["p99_seconds"] * 1e3 for each in latencies),
            at_most=15.0,
            unit=" ms",
            digits=1,
        )
    yield Target(
        what="growth of the server meanwhile",
        measured=Spread.of(each.growth_bytes / MIB for each in pings),
        at_most=32.0,
        unit=" MiB",
        digits=1,
    )


@contextlib.contextmanager
def _pinging(session: Program, **plan: Any) -> Iterator[Program]:
    with Program(session.server_pid, "pings", **{**session.plan, **plan}) as program:
        yield program
