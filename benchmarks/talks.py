"""Talks over a network that loses: how many messages arrive, how late, and what that takes; the
table and its targets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import attrs

from benchmarks.lossy import Talk, Weather
from benchmarks.measure import Spread
from benchmarks.options import Options
from benchmarks.table import Grid, Target

__all__ = ["Talks", "as_data", "grid_of", "measure", "targets_of"]

LOSSES = (0.0, 0.05, 0.2)
RATES = (0.2, 1.0, 20.0)
"""How many messages each of ten people says in a second: hardly any, a lively talk, and more than anybody types."""

MOST_P99_SECONDS = 2.0
MOST_EXTRA = 1.6

Talks: TypeAlias = Mapping[tuple[float, float], Talk]
"""By rate and loss."""


class TalkFunction(Protocol):
    """Has ten people talk: the hub of `benchmarks.lossy`, or that of `benchmarks.lossy_hub`."""

    def __call__(self, weather: Weather, *, messages: int, each_per_second: float) -> Talk:
        """Have so many messages said."""


def measure(talk: TalkFunction, name: str, options: Options) -> Talks:
    """All rates and losses, once: they always give the same."""
    messages = 1000 if options.quick else 10_000
    done = {}
    for rate in RATES:
        for loss in LOSSES:
            options.say(f"{name}: {messages} messages, {rate:g}/s each, {loss:.0%} lost")
            done[rate, loss] = talk(Weather(loss=loss), messages=messages, each_per_second=rate)
    return done


def as_data(talks: Talks) -> list[dict[str, Any]]:
    """Every figure."""
    return [
        {"rate": rate, "loss": loss, **attrs.asdict(each)} for (rate, loss), each in talks.items()
    ]


def grid_of(talks: Talks, title: str) -> Grid:
    """A row for each."""
    rows = [
        [
            f"{rate:g}/s each, {loss:.0%} lost",
            str(each.delivered),
            str(each.repeated),
            str(each.out_of_order),
            str(each.undelivered),
            f"{each.latency(0.5):.3f}",
            f"{each.latency(0.99):.3f}",
            f"{each.datagrams_per_message:.2f}",
            f"{each.datagrams_per_message - talks[rate, 0.0].datagrams_per_message:.2f}",
        ]
        for (rate, loss), each in talks.items()
    ]
    columns = ["talk", "delivered", "twice", "disorder", "undelivered", "p50 s", "p99 s"]
    return Grid(title=title, columns=[*columns, "datagrams", "extra"], rows=rows)


def targets_of(talks: Talks, by: str = "") -> list[Target]:
    """What is asked of the worst network; `by` is what they talk by."""
    targets = []
    for rate in RATES:
        lossless, lossy = talks[rate, 0.0], talks[rate, max(LOSSES)]
        how = f"{by}{rate:g}/s each, {max(LOSSES):.0%} lost each way"
        wrong = lossy.messages - lossy.delivered + lossy.repeated + lossy.out_of_order
        extra = lossy.datagrams_per_message - lossless.datagrams_per_message
        targets += [
            Target(
                what=f"messages missing, shown twice or out of order, {how}",
                measured=Spread((float(wrong + lossy.undelivered),)),
                at_most=0,
                digits=0,
            ),
            Target(
                what=f"p99 from one to the other, {how}",
                measured=Spread((lossy.latency(0.99),)),
                at_most=MOST_P99_SECONDS,
                unit=" s",
            ),
            Target(
                what=f"datagrams per message more than without loss, {how}",
                measured=Spread((extra,)),
                at_most=MOST_EXTRA,
            ),
        ]
    return targets
