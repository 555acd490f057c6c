"""How long it takes to come into a room with a long history, and to search it: the median of some tries, each on a new
connection.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import react

from sockserv.client import connect
from sockserv.client.chat import Session

_TRIES = 11
_SEARCHES = ("topic7", "message", "talk about topic999", "wff", "nothing-like-this")


@attrs.frozen(kw_only=True)
class HistoryPlan:
    """Where the hub is."""

    port: int
    token: str


async def _run(plan: HistoryPlan) -> dict[str, float]:
    joins, searches = [], []
    for _ in range(_TRIES):
        client = await connect(reactor, f"tcp://127.0.0.1:{plan.port}", token=plan.token)
        session = Session()
        start = time.perf_counter()
        entered = session.enter("room3")
        running = Deferred.fromCoroutine(session.run(client))
        running.addErrback(lambda failure: None)
        await entered
        found = await client.chat.history("room3", count=50)
        joins.append(time.perf_counter() - start)
        assert len(found) == 50, "there is a history"
        for text in _SEARCHES:
            start = time.perf_counter()
            await client.chat.search(text)
            searches.append(time.perf_counter() - start)
        running.cancel()
        await client.close()
    # Of the searches the slowest kind counts, whichever that is.
    slowest = max(statistics.median(searches[n :: len(_SEARCHES)]) for n in range(len(_SEARCHES)))
    return {"join_seconds": statistics.median(joins), "search_seconds": slowest}


def main() -> None:
    """Run the plan of standard input."""
    plan = HistoryPlan(**json.load(sys.stdin))

    async def run() -> None:
        print(json.dumps(await _run(plan)), flush=True)

    react(lambda _: Deferred.fromCoroutine(run()))


if __name__ == "__main__":
    main()
