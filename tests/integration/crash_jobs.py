"""Kills daemons, supervisors of kept jobs, and both, again and again, and looks at every job afterwards.

    python -m tests.integration.crash_jobs --kills 200 --seed 1 --folder /some/disk

Every job counts, so that what it has written can be compared with what it must have written up to there. What has to
hold after every kill:

1. Every job whose start was acknowledged is there, until somebody removes it.
2. What is there of its output is the beginning of what it writes; all of it, when it has exited.
3. A job is lost if its supervisor was killed before it had ended, and only then. Once it was said how it has ended,
   that stays so.
4. Of a job that has ended, or is lost, nothing runs.

It ends with status 1 and the first breach, or prints what it has done.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from sockserv.keeping.folder import JobFolder, find_folders
from sockserv.keeping.record import read_record
from sockserv.processes.table import Machine
from tests.integration.conftest import start_process
from tests.integration.crashing import Breach, KilledDaemon, main
from tests.integration.test_cli import SOCKSERV

_MAX_JOBS = 8
_DEADLINE_SECONDS = 60.0


def counted(count: int) -> bytes:
    """What a job has written that has counted so far."""
    return b"".join(b"%d\n" % number for number in range(count))


@attrs.define
class Counting:
    """A job that counts to a number. `told` is how it has ended as was told last, None while it runs."""

    name: str
    count: int
    is_acknowledged: bool = False
    is_supervisor_killed: bool = False
    told: str | None = None


class Crashes(KilledDaemon):
    """A daemon, its kept jobs, and the kills."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        super().__init__(folder, chance)
        self.jobs: dict[str, Counting] = {}
        self._machine = Machine(adopts=False)
        self._started = 0
        self.start_daemon()

    # What is done

    def round(self) -> None:
        """Some commands at once, a kill in the middle, and a look at everything."""
        running = [self._start() for _ in range(self.chance.randint(1, 3))]
        time.sleep(self.chance.uniform(0.2, 2.5))
        kills = self.chance.choice([(True, False), (False, True), (True, True)])
        self._kill(daemon=kills[0], supervisors=kills[1])
        for job, process in running:
            process.communicate(timeout=_DEADLINE_SECONDS)
            job.is_acknowledged = process.returncode == 0
        if kills[0]:
            self.start_daemon()
        self.check()
        self._remove_some()

    def _start(self) -> tuple[Counting, subprocess.Popen[bytes]]:
        self._started += 1
        job = Counting(f"job-{self._started}", self.chance.choice([0, 1, 100, 20_000, 300_000]))
        self.jobs[job.name] = job
        pause = self.chance.choice(
            ["", "sleep 1;", "sleep 3;", "sleep 8;", "setsid sleep 300 & sleep 3;"]
        )
        script = f"{pause} i=0; while [ $i -lt {job.count} ]; do echo $i; i=$((i+1)); done"
        arguments = [*SOCKSERV, "exec", "--detach", "--job", job.name, "--shell", "--", script]
        return job, start_process(
            arguments,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def _kill(self, *, daemon: bool, supervisors: bool) -> None:
        if daemon:
            self.daemon.process.kill()
            self.counts["daemons killed"] += 1
        if supervisors:
            for folder in find_folders(self.state / "jobs"):
                if self.chance.random() < 0.5:
                    self._kill_supervisor(folder)
        if daemon:
            self.daemon.wait()

    def _kill_supervisor(self, folder: JobFolder) -> None:
        for pid in os.listdir("/proc"):
            if pid.isdecimal() and self._holds(pid, folder.path / "lock"):
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
                    self.jobs[folder.path.name].is_supervisor_killed = True
                    self.counts["supervisors killed"] += 1

    def _holds(self, pid: str, lock: Path) -> bool:
        if pid == str(self.daemon.process.pid):
            return False
        files = Path("/proc", pid, "fd")
        with suppress(OSError):
            for file in files.iterdir():
                with suppress(OSError):
                    if file.readlink() == lock:
                        return True
        return False

    def _remove_some(self) -> None:
        ended = [job for job in self.jobs.values() if job.told is not None]
        for job in ended[:-_MAX_JOBS] if len(ended) > _MAX_JOBS else []:
            self._sockserv("jobs", "--remove", job.name)
            del self.jobs[job.name]

    def _sockserv(self, *arguments: str) -> list[Any]:
        done = subprocess.run(
            [*SOCKSERV, arguments[0], "--json", *arguments[1:]],
            env=self.environment,
            capture_output=True,
            check=False,
            timeout=_DEADLINE_SECONDS,
        )
        if done.returncode:
            raise Breach(f"{arguments} ended with {done.returncode}: {done.stderr.decode()}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    # What is looked at

    def check(self) -> None:
        """Look at every job."""
        listed = {entry["job"]: entry for entry in self._sockserv("jobs")}
        for job in [*self.jobs.values()]:
            entry = listed.pop(job.name, None)
            if entry is not None:
                self._check_job(job, entry)
            elif job.is_acknowledged:
                raise Breach(f"{job.name} was started, and is not there")
            else:
                del self.jobs[job.name]
        if listed:
            raise Breach(f"nobody has started {[*listed]}")

    def _check_job(self, job: Counting, entry: dict[str, Any]) -> None:
        folder = JobFolder.of(self.state / "jobs", identity="owner", job=job.name)
        outcome: Any = entry.get("outcome")
        told = None if outcome is None else outcome["kind"]
        if job.told is not None and told != job.told:
            raise Breach(f"{job.name} had {job.told}, and now it has {told}")
        output = folder.stdout.read_bytes() if folder.stdout.exists() else b""
        if not counted(job.count).startswith(output):
            raise Breach(f"{job.name} never wrote {output[-60:]!r}")
        if told == "exited" and (outcome["code"] != 0 or output != counted(job.count)):
            raise Breach(f"{job.name} has exited, with {len(output)} bytes: {outcome}")
        if told == "lost" and not job.is_supervisor_killed and job.is_acknowledged:
            raise Breach(f"{job.name} is lost, and nobody has killed its supervisor")
        if told not in (None, "exited", "lost"):
            raise Breach(f"{job.name} has ended by {outcome}")
        if told is not None and outcome["stdout_bytes"] != len(output):
            raise Breach(f"{job.name} has {len(output)} bytes: {outcome}")
        if told != job.told:
            job.told = told
            self.counts[f"jobs that have {told}"] += 1
            self._check_gone(job, folder)

    def _check_gone(self, job: Counting, folder: JobFolder) -> None:
        record = read_record(folder)
        assert record is not None
        deadline = time.monotonic() + 10
        while self._marked(record.mark):
            if time.monotonic() > deadline:
                raise Breach(f"{job.name} has {job.told}, and something of it runs")
            time.sleep(0.05)

    def _marked(self, mark: int) -> list[int]:
        return [pid for pid in self._machine.all() if self._machine.mark(pid) == mark]

    def converge(self) -> None:
        """Without any more kills, each job ends."""
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while any(job.told is None for job in self.jobs.values()):
            if time.monotonic() > deadline:
                raise Breach(f"some jobs run for ever: {self.jobs}")
            time.sleep(0.2)
            self.check()

    def end(self) -> None:
        """Stop everything."""
        super().end()
        for folder in find_folders(self.state / "jobs"):
            record = read_record(folder)
            for pid in self._marked(record.mark) if record is not None else []:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def run(folder: Path, *, kills: int, seed: int) -> Counter[str]:
    """Kill so many times; gives what was done. Raises `Breach`."""
    crashes = Crashes(folder, random.Random(seed))
    try:
        for _ in range(kills):
            crashes.round()
        crashes.converge()
    finally:
        crashes.end()
    return crashes.counts


if __name__ == "__main__":
    sys.exit(main(run, __doc__))
