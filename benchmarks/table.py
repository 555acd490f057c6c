"""What a benchmark hands back, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from benchmarks.measure import QUIET_CPU, Spread


@attrs.frozen(kw_only=True)
class Target:
    """A promise, and what was measured for it. The median decides."""

    what: str
    measured: Spread
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""
    digits: int = 2

    @property
    def is_met(self) -> bool:
        value = self.measured.median
        if self.at_least is not None and value < self.at_least:
            return False
        return self.at_most is None or value <= self.at_most

    @property
    def bound(self) -> str:
        if self.at_least is not None:
            return f"at least {self.at_least:g}{self.unit}"
        return f"at most {self.at_most:g}{self.unit}"


@attrs.frozen(kw_only=True)
class Grid:
    """Rows of text under a heading."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@attrs.frozen(kw_only=True)
class Report:
    """One benchmark's result.

    :ivar notes: what a reader must know to judge the figures.
    :ivar data: every figure of every round, for `--json`.
    """

    name: str
    grids: Sequence[Grid]
    targets: Sequence[Target] = ()
    notes: Sequence[str] = ()
    data: Any = None

    @property
    def is_met(self) -> bool:
        return all(target.is_met for target in self.targets)


def show(report: Report) -> Iterator[str]:
    """The lines of a report: its tables, its targets, its notes."""
    for grid in report.grids:
        yield ""
        yield from _lines(grid)
    if report.targets:
        yield ""
    for target in report.targets:
        verdict = "pass" if target.is_met else "FAIL"
        measured = target.measured.text(digits=target.digits)
        yield f"{verdict}  {target.what}: {measured}{target.unit}, {target.bound}"
    for note in report.notes:
        yield f"note: {note}"


def _lines(grid: Grid) -> Iterator[str]:
    columns = zip(grid.columns, *grid.rows, strict=True)
    widths = [max(map(len, column)) for column in columns]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "   ".join([first, *others])

    yield grid.title
    yield line(grid.columns)
    yield "-" * len(line(grid.columns))
    yield from map(line, grid.rows)


def note_on_others(runs: Iterable[Mapping[str, float]]) -> str:
    """What the column `others` shows, and whether it spoils the figures."""
    shares = [run["other_cpu"] for run in runs]
    disturbed = sum(share > QUIET_CPU for share in shares)
    text = f"'others' is CPU that neither end took; above {QUIET_CPU:.0%} a run was made again"
    if disturbed:
        text += f"; {disturbed} of {len(shares)} were disturbed all the same: do not rely on them"
    return text


def as_json(report: Report) -> dict[str, Any]:
    """A report as plain values."""
    return {
        "targets": [
            {**attrs.asdict(target), "median": target.measured.median, "is_met": target.is_met}
            for target in report.targets
        ],
        "notes": list(report.notes),
        "data": report.data,
    }
