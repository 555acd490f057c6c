"""Remote commands: many short ones, much output and much input, by sockserv and its peers, in turn on this machine."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import attrs

from benchmarks.execution.beside import Beside, beside_targets, measure_beside
from benchmarks.execution.contenders import (
    ASYNCSSH,
    HEAVY,
    LOCAL,
    OWN,
    OWN_TLS,
    SSH,
    SSH_GCM,
    Contender,
    contenders,
)
from benchmarks.files.needs import missing
from benchmarks.files.session import Program
from benchmarks.files.usage import Usage
from benchmarks.measure import MIB, Spread
from benchmarks.options import Options
from benchmarks.processes import BenchmarkError
from benchmarks.table import Grid, Report, Target

SERIAL: Final = "serial"
AT_ONCE: Final = "16 at once"
OUTPUT: Final = "output"
INPUT: Final = "input"

_SLOWER: Final = 4

Results = dict[str, dict[str, list[Mapping[str, float]]]]


@attrs.frozen
class Sizes:
    """How much there is to do."""

    serial_jobs: int
    jobs_at_once: int
    output_bytes: int
    input_bytes: int

    def job(self, case: str, contender: Contender) -> dict[str, object]:
        """What a client is told."""
        slower = _SLOWER if contender.is_slow else 1
        return {
            SERIAL: {"task": "jobs", "count": self.serial_jobs // slower, "at_once": 1},
            AT_ONCE: {"task": "jobs", "count": self.jobs_at_once // slower, "at_once": 16},
            OUTPUT: {"task": "output", "size": self.output_bytes},
            INPUT: {"task": "input", "size": self.input_bytes},
        }[case]


@attrs.frozen
class Promise:
    """`own` makes at least so many times the rate of `other`."""

    case: str
    own: str
    other: str
    at_least: float


PROMISES: Final = (
    Promise(SERIAL, OWN, LOCAL, 0.7),
    Promise(AT_ONCE, OWN, LOCAL, 0.8),
    *(Promise(case, OWN, ASYNCSSH, 1.8) for case in (SERIAL, AT_ONCE)),
    *(Promise(case, OWN, SSH, 4.0) for case in (SERIAL, AT_ONCE)),
    *(Promise(case, HEAVY, OWN, 0.9) for case in (SERIAL, AT_ONCE)),
    Promise(OUTPUT, OWN, LOCAL, 0.6),
    Promise(OUTPUT, OWN_TLS, SSH, 1.5),
    Promise(OUTPUT, OWN_TLS, SSH_GCM, 1.0),
)

_GOOD_BYTES_PER_SECOND: Final = 1e9
"""So much output a second is promised where the machine's own pipes carry as much as the promise of a share needs."""


def run(options: Options) -> Report:
    """Every contender does everything, in turn, round after round."""
    sizes = (
        Sizes(80, 160, 128 * MIB, 10 * MIB)
        if options.quick
        else Sizes(800, 1600, 1024 * MIB, 50 * MIB)
    )
    results: Results = {}
    beside: list[Beside] = []
    notes = []
    with _folder("/dev/shm") as memory, _folder("/var/tmp") as disk:
        everybody = [each for each in contenders(memory, disk) if options.wants(each.name)]
        taking_part = [each for each in everybody if not missing(each.needs)]
        for each in everybody:
            if each not in taking_part:
                lacking = ", ".join(missing(each.needs))
                notes.append(f"{each.name} is missing: there is no {lacking} here")
        for number in range(options.rounds):
            for case in (SERIAL, AT_ONCE, OUTPUT, INPUT):
                for contender in taking_part:
                    if _task(case) in contender.tasks:
                        options.say(
                            f"exec: round {number + 1} of {options.rounds}, {case}, {contender.name}"
                        )
                        measured = _measure(contender, sizes, case)
                        by_name = results.setdefault(case, {})
                        by_name.setdefault(contender.name, []).append(measured)
            if options.wants(OWN):
                options.say(
                    f"exec: round {number + 1} of {options.rounds}, pings and a slow reader"
                )
                beside.append(measure_beside(memory, quick=options.quick))
    return Report(
        name="exec",
        grids=[_grid(case, sizes, by_name) for case, by_name in results.items()],
        targets=[*_targets(results), *beside_targets(beside)],
        notes=[*notes, *_losses(results), *_notes(options)],
        data={**results, "beside": [attrs.asdict(each) for each in beside]},
    )


def _task(case: str) -> str:
    return case if case in (OUTPUT, INPUT) else "jobs"


@contextlib.contextmanager
def _folder(parent: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sockserv-benchmark-", dir=parent) as name:
        yield Path(name)


def _measure(contender: Contender, sizes: Sizes, case: str) -> Mapping[str, float]:
    job = sizes.job(case, contender)
    with contender.start() as program:
        # What is started with the first job is there before the clock starts.
        program.ask({"task": "jobs", "count": 16, "at_once": 4})
        measured = _timed(program, job)
    if measured["missing_bytes"] and contender.name in (OWN, OWN_TLS, LOCAL):
        raise BenchmarkError(f"{contender.name} has lost {measured['missing_bytes']} bytes")
    count = job.get("count", job.get("size"))
    assert isinstance(count, int)
    return {**measured, "rate": count / measured["seconds"]}


def _timed(program: Program, job: dict[str, object]) -> dict[str, float]:
    if not program.server_pid:
        measured: dict[str, float] = program.ask(job)
        return {**measured, "server_cpu_seconds": 0.0, "server_growth_bytes": 0.0}
    with Usage(program.server_pid) as usage:
        measured = program.ask(job)
    return {
        **measured,
        "server_cpu_seconds": usage.cpu_seconds,
        "server_growth_bytes": float(usage.growth_bytes),
    }


def _grid(case: str, sizes: Sizes, by_name: dict[str, list[Mapping[str, float]]]) -> Grid:
    is_bulk = case in (OUTPUT, INPUT)
    rows = []
    for name, runs in by_name.items():
        rate = Spread.of(each["rate"] for each in runs)
        ratio = "-"
        if LOCAL in by_name:
            ratio = rate.over(Spread.of(each["rate"] for each in by_name[LOCAL])).text(digits=2)
        latencies = [
            Spread.of(each[key] for each in runs).text(1e3, digits=1)
            for key in ("p50_seconds", "p99_seconds")
        ]
        cpu = Spread.of(each["server_cpu_seconds"] / each["seconds"] for each in runs)
        grown = max(each["server_growth_bytes"] for each in runs) / MIB
        rows.append(
            [
                name,
                rate.text(1e-6 if is_bulk else 1),
                ratio,
                *([] if is_bulk else latencies),
                cpu.text(100),
                f"{grown:,.0f}",
            ]
        )
    columns = ["contender", "MB/s" if is_bulk else "jobs/s", f"/ {LOCAL}"]
    columns += [] if is_bulk else ["p50 ms", "p99 ms"]
    size = {OUTPUT: sizes.output_bytes, INPUT: sizes.input_bytes}.get(case, 0) // MIB
    title = {
        SERIAL: "`true`, one after the other",
        AT_ONCE: "`true`, 16 at once",
        OUTPUT: f"{size} MiB of /dev/zero, thrown away",
        INPUT: f"{size} MiB through `cat`",
    }[case]
    return Grid(title=title, columns=[*columns, "server CPU %", "server grew MiB"], rows=rows)


def _targets(results: Results) -> Iterator[Target]:
    for promise in PROMISES:
        by_name = results.get(promise.case, {})
        if promise.own not in by_name or promise.other not in by_name:
            continue
        own, other = (
            Spread.of(each["rate"] for each in by_name[name])
            for name in (promise.own, promise.other)
        )
        yield Target(
            what=f"{promise.case}: {promise.own} / {promise.other}",
            measured=own.over(other),
            at_least=promise.at_least,
        )
    output = results.get(OUTPUT, {})
    if OWN in output and LOCAL in output:
        local = Spread.of(each["rate"] for each in output[LOCAL])
        if local.median * 0.6 >= _GOOD_BYTES_PER_SECOND:
            yield Target(
                what=f"output: {OWN}",
                measured=Spread.of(each["rate"] / 1e9 for each in output[OWN]),
                at_least=_GOOD_BYTES_PER_SECOND / 1e9,
                unit=" GB/s",
            )


def _losses(results: Results) -> Iterator[str]:
    for case, by_name in results.items():
        for name, runs in by_name.items():
            lost = [each["missing_bytes"] for each in runs if each["missing_bytes"]]
            if lost:
                yield f"{name} has lost {sum(lost):,.0f} bytes of {case} in {len(lost)} runs, and called it a success"


def _notes(options: Options) -> Iterator[str]:
    yield f"{options.rounds} rounds, median [lowest..highest]; growth is the largest of all rounds"
    yield (
        "sockserv is a whole daemon with policy and audit log (on tmpfs unless it says otherwise: each job waits twice for "
        f"the log), one connection; {LOCAL} is subprocess.run, in 16 threads for 16 at once, and its output goes through "
        "`cat`; each job of ssh is a process of its own, on one connection"
    )
