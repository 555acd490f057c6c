"""Files: large ones and many small ones, to and from sockserv and its peers, in turn on this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from benchmarks.files.contenders import LIMIT, OWN, OWN_TLS, TLS_PUSH, contenders
from benchmarks.files.needs import missing
from benchmarks.files.pings import Pings, measure_pings, ping_targets
from benchmarks.files.session import Contender, Job, Session, Task
from benchmarks.files.usage import Usage
from benchmarks.measure import MIB, Spread
from benchmarks.options import Options
from benchmarks.processes import BenchmarkError
from benchmarks.table import Grid, Report, Target

LARGE = "large"
TREE = "tree"


@attrs.frozen
class Place:
    """Where the files lie."""

    name: str
    parent: str
    tasks: tuple[Task, ...]


# A get that is written comes first: its server does not know the digest yet.
PLACES = (
    Place("tmpfs", "/dev/shm", (Task.GET, Task.DISCARD, Task.PUT, Task.PUT_TREE, Task.GET_TREE)),
    Place("disk", "/var/tmp", (Task.GET, Task.PUT)),
)


@attrs.frozen
class Promise:
    """`own` makes at least so many times the rate of `other`."""

    task: Task
    own: str
    other: str
    at_least: float


PROMISES = (
    Promise(Task.DISCARD, OWN, LIMIT, 0.8),
    Promise(Task.DISCARD, OWN, "pyftpdlib", 1.0),
    Promise(Task.DISCARD, OWN, "vsftpd", 1.0),
    Promise(Task.DISCARD, OWN, "scp", 5.0),
    Promise(Task.PUT, OWN, LIMIT, 0.6),
    Promise(Task.PUT, OWN, "pyftpdlib", 1.0),
    Promise(Task.PUT, OWN, "vsftpd", 1.0),
    Promise(Task.PUT, OWN, "scp", 4.0),
    *(
        Promise(task, OWN_TLS, f"{other}{cipher}", at_least)
        for task in (Task.DISCARD, Task.PUT)
        for other in ("scp", "sftp")
        for cipher, at_least in (("", 1.6), (", aes128-gcm", 1.3))
    ),
    Promise(Task.DISCARD, OWN_TLS, "pyftpdlib, FTPS", 1.0),
    Promise(Task.PUT, OWN_TLS, "pyftpdlib, FTPS", 1.0),
    Promise(Task.DISCARD, OWN_TLS, TLS_PUSH, 0.9),
    Promise(Task.PUT_TREE, OWN, "scp", 3.0),
    Promise(Task.PUT_TREE, OWN, "asyncssh sftp", 5.0),
    Promise(Task.PUT_TREE, OWN, "rsync daemon", 1.0),
    Promise(Task.PUT_TREE, OWN_TLS, "scp", 2.0),
)
"""For tmpfs.

A get is compared where nobody writes it: the limit does not, and what writing costs is the same for all.
"""

TITLES = {
    Task.GET: "get, written",
    Task.DISCARD: "get, thrown away",
    Task.PUT: "put",
    Task.PUT_TREE: "put a tree",
    Task.GET_TREE: "get a tree",
}

Case = tuple[str, Task]
Results = dict[Case, dict[str, list[Mapping[str, float]]]]


@attrs.frozen
class Sizes:
    """How much there is to transfer."""

    large_bytes: int
    small_files: int
    small_bytes: int = 4096

    def amount(self, task: Task) -> float:
        """What rates count: bytes of the large file, or files."""
        return self.small_files if task in (Task.PUT_TREE, Task.GET_TREE) else self.large_bytes


def run(options: Options) -> Report:
    """Every contender does every task, in turn, round after round."""
    sizes = Sizes(128 * MIB, 200) if options.quick else Sizes(1024 * MIB, 2000)
    results: Results = {}
    pings: list[Pings] = []
    notes = []
    with tempfile.TemporaryDirectory(prefix="sockserv-benchmark-") as state:
        everybody = [
            each for each in contenders(Path(state), sizes.large_bytes) if options.wants(each.name)
        ]
        taking_part = [each for each in everybody if not missing(each.needs)]
        for each in everybody:
            if each not in taking_part:
                lacking = ", ".join(missing(each.needs))
                notes.append(f"{each.name} is missing: there is no {lacking} here")
        for number in range(options.rounds):
            # Who comes first may meet a machine as nobody else does: memory that nobody has used yet, for one.
            first = number % max(1, len(taking_part))
            turns = [*taking_part[first:], *taking_part[:first]]
            for place in PLACES:
                with _folder(place, sizes) as base:
                    say = f"files: round {number + 1} of {options.rounds}, {place.name}"
                    _round(place, base, turns, results, options, say)
                    if place is PLACES[0] and options.wants(OWN):
                        pings.append(measure_pings(taking_part, base, LARGE))
    grids = [_grid(case, sizes, by_name) for case, by_name in results.items()]
    return Report(
        name="files",
        grids=grids,
        targets=[*_targets(results), *ping_targets(pings)],
        notes=[*notes, *_notes(options)],
        data={
            **{f"{place} {task.value}": each for (place, task), each in results.items()},
            "pings": [attrs.asdict(each) for each in pings],
        },
    )


@contextlib.contextmanager
def _folder(place: Place, sizes: Sizes) -> Iterator[Path]:
    """A folder with the folder `served`, which has all there is to get and put, and the empty folder `local`."""
    with tempfile.TemporaryDirectory(prefix="sockserv-benchmark-", dir=place.parent) as name:
        base = Path(name)
        served = base / "served"
        (served / TREE).mkdir(parents=True)
        (base / "local").mkdir()
        with (served / LARGE).open("wb") as large:
            for _ in range(sizes.large_bytes // MIB):
                large.write(os.urandom(MIB))
            os.fsync(large.fileno())
        if Task.PUT_TREE in place.tasks:
            for number in range(sizes.small_files):
                (served / TREE / f"{number:05}").write_bytes(os.urandom(sizes.small_bytes))
        yield base


def _round(
    place: Place,
    base: Path,
    taking_part: list[Contender],
    results: Results,
    options: Options,
    say: str,
) -> None:
    with contextlib.ExitStack() as stack:
        sessions: dict[Contender, Session] = {
            each: stack.enter_context(each.start(base / "served")) for each in taking_part
        }
        for task in place.tasks:
            for contender, session in sessions.items():
                if task not in contender.tasks:
                    continue
                options.say(f"{say}, {TITLES[task]}, {contender.name}")
                measured = _measure(session, task, base)
                by_name = results.setdefault((place.name, task), {})
                by_name.setdefault(contender.name, []).append(measured)


def _measure(session: Session, task: Task, base: Path) -> Mapping[str, float]:
    """Do a job, check what came of it, and remove that."""
    served, local = base / "served", base / "local"
    source = TREE if task in (Task.PUT_TREE, Task.GET_TREE) else LARGE
    if task in (Task.PUT, Task.PUT_TREE):
        job, made = Job(task, "new", served / source), served / "new"
    else:
        job, made = Job(task, source, local / "new"), local / "new"
    with Usage(session.server_pid) as usage:
        seconds = session.run(job)
    if task is not Task.DISCARD:
        _check(made, served / source)
    return {
        "seconds": seconds,
        "server_cpu_seconds": usage.cpu_seconds,
        "server_growth_bytes": usage.growth_bytes,
    }


def _check(made: Path, source: Path) -> None:
    """What was made has as much as the source; then it is removed."""
    if source.is_dir():
        counts = [sum(1 for each in path.rglob("*") if each.is_file()) for path in (made, source)]
        shutil.rmtree(made)
    else:
        counts = [path.stat().st_size for path in (made, source)]
        made.unlink()
    if counts[0] != counts[1]:
        raise BenchmarkError(f"{counts[0]} of {counts[1]} came to {made}")


def _rates(case: Case, sizes: Sizes, runs: list[Mapping[str, float]]) -> Spread:
    return Spread.of(sizes.amount(case[1]) / each["seconds"] for each in runs)


def _grid(case: Case, sizes: Sizes, by_name: dict[str, list[Mapping[str, float]]]) -> Grid:
    place, task = case
    is_tree = task in (Task.PUT_TREE, Task.GET_TREE)
    amount = f"{sizes.small_files} files" if is_tree else f"{sizes.large_bytes // MIB} MiB"
    gib = sizes.large_bytes / (1024 * MIB)
    rows = []
    for name, runs in by_name.items():
        rate = _rates(case, sizes, runs)
        ratio = "-"
        if LIMIT in by_name:
            ratio = rate.over(_rates(case, sizes, by_name[LIMIT])).text(digits=2)
        cpu = Spread.of(each["server_cpu_seconds"] / (1 if is_tree else gib) for each in runs)
        grown = max(each["server_growth_bytes"] for each in runs) / MIB
        seconds = Spread.of(each["seconds"] for each in runs)
        rows.append(
            [
                name,
                rate.text(1 if is_tree else 1e-6),
                seconds.text(digits=2) if is_tree else ratio,
                cpu.text(digits=2),
                f"{grown:,.0f}",
            ]
        )
    columns = ["contender", "files/s", "seconds", "server CPU s", "server grew MiB"]
    if not is_tree:
        columns[1:4] = ["MB/s", f"/ {LIMIT}", "server CPU s/GiB"]
    return Grid(title=f"{TITLES[task]}, {place}, {amount}", columns=columns, rows=rows)


def _targets(results: Results) -> Iterator[Target]:
    for promise in PROMISES:
        by_name = results.get((PLACES[0].name, promise.task), {})
        if promise.own not in by_name or promise.other not in by_name:
            continue
        own, other = (
            Spread.of(1 / each["seconds"] for each in by_name[name])
            for name in (promise.own, promise.other)
        )
        yield Target(
            what=f"{TITLES[promise.task]}: {promise.own} / {promise.other}",
            measured=own.over(other),
            at_least=promise.at_least,
        )


def _notes(options: Options) -> Iterator[str]:
    yield f"{options.rounds} rounds, median [lowest..highest]; growth is the largest of all rounds"
    yield (
        "sockserv verifies every file, and puts are on the disk when they are answered; of the others none does both. "
        f"{LIMIT} is no protocol, and verifies nothing"
    )
    yield (
        "commands (scp, sftp, rsync, curl) are timed with their start, programs (sockserv, asyncssh, ftp) when connected"
    )
