"""Kills the daemon or its clients while files are stored, and looks at what is on the disk.

What must hold after each time:

- under every name there is a whole version of its file, or nothing;
- it is the last version that a client was told to be stored, or one that was asked for after that;
- a client that goes on with what broke off gets its file stored;
- nothing else is there but unfinished files.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from sockserv.errors import StateError
from sockserv.files.names import is_reserved
from sockserv.state import StateDirectory
from tests.crash.content import version_of

WORKERS = 3
MAX_LIFE_SECONDS = 0.6
START_SECONDS = 60.0
ROOT = Path(__file__).resolve().parents[2]


class Crashes:
    """A daemon and its clients, who are started again and again in `folder`."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._state = folder / "state"
        self._random = random.Random(seed)
        self._daemon: subprocess.Popen[bytes] | None = None
        self._workers: dict[int, subprocess.Popen[bytes]] = {}
        self.kills = 0
        self.stored = 0

    def round(self) -> None:
        """Let everybody work for a moment, kill somebody, and look."""
        self._start()
        time.sleep(self._random.uniform(0, MAX_LIFE_SECONDS))
        what = self._random.random()
        if what < 0.4:
            self._kill_worker(self._random.choice([*self._workers]))
            time.sleep(self._random.uniform(0, MAX_LIFE_SECONDS / 4))
        if what > 0.2:
            self._kill_daemon()
            self.check()

    def end(self) -> None:
        """Kill everybody, and look once more."""
        for number in [*self._workers]:
            self._kill_worker(number)
        self._kill_daemon()
        self.check()

    def check(self) -> None:
        """Look at all that is there. Raises `AssertionError`, or `ValueError` for a file that is not whole."""
        root = self._state / "files"
        found = {
            str(path.relative_to(root)): path
            for path in sorted(root.rglob("*"))
            if path.is_file() and not is_reserved(path.name)
        }
        expected = self._journals()
        assert found.keys() <= expected.keys(), f"{found.keys() - expected.keys()} was never put"
        for name, versions in expected.items():
            version = version_of(name, found[name].read_bytes()) if name in found else None
            assert version in versions, f"{name} has version {version}, and not one of {versions}"

    def _journals(self) -> dict[str, set[int | None]]:
        """The versions that each name may have now; None stands for no file."""
        may_have: dict[str, set[int | None]] = {}
        self.stored = 0
        for path in self._folder.glob("journal-*"):
            for line in path.read_text().splitlines():
                kind, op, name, version = json.loads(line)
                becomes = version if op == "put" else None
                if kind == "?":
                    may_have.setdefault(name, {None}).add(becomes)
                else:
                    may_have[name] = {becomes}
                    self.stored += op == "put"
        return may_have

    def _start(self) -> None:
        if self._daemon is None:
            with open(self._folder / "daemon.log", "ab") as log:
                self._daemon = subprocess.Popen(
                    [
                        str(Path(sys.executable).with_name("twistd")),
                        "--nodaemon",
                        "--pidfile=",
                        "sockserv",
                        f"--state={self._state}",
                        "--listen=tcp:0:interface=127.0.0.1",
                    ],
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            self._wait_for(self._daemon)
        for number in range(WORKERS):
            worker = self._workers.get(number)
            if worker is None or worker.poll() is not None:
                assert worker is None, f"client {number} has failed: see its traceback above"
                journal = self._folder / f"journal-{number}"
                seed = self._random.randrange(2**32)
                arguments = map(str, (self._state, journal, f"w{number}", seed))
                self._workers[number] = subprocess.Popen(
                    [sys.executable, "-m", "tests.crash.worker", *arguments], cwd=ROOT
                )

    def _wait_for(self, daemon: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert daemon.poll() is None, (self._folder / "daemon.log").read_text()[-5000:]
            assert time.monotonic() < deadline, "the daemon does not start"
            try:
                if StateDirectory(self._state).running().pid == daemon.pid:
                    return
            except StateError:
                pass
            time.sleep(0.01)

    def _kill_daemon(self) -> None:
        if self._daemon is not None:
            self._daemon.send_signal(signal.SIGKILL)
            self._daemon.wait()
            self._daemon = None
            self.kills += 1

    def _kill_worker(self, number: int) -> None:
        worker = self._workers.pop(number)
        assert worker.poll() is None, f"client {number} has failed: see its traceback above"
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        self.kills += 1


@contextmanager
def crashes(folder: Path, seed: int) -> Iterator[Crashes]:
    """Everybody; at the end all are killed, and everything is looked at."""
    them = Crashes(folder, seed)
    try:
        yield them
        them.end()
    finally:
        for process in [*them._workers.values(), *filter(None, [them._daemon])]:
            process.kill()
            process.wait()


def main() -> None:
    """Do as many rounds as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to work; on the disk in question")
    arguments = parser.parse_args()
    with (
        TemporaryDirectory(dir=arguments.folder) as folder,
        crashes(Path(folder), arguments.seed) as them,
    ):
        for number in range(arguments.rounds):
            them.round()
            if number % 20 == 19:
                sys.stdout.write(
                    f"{number + 1} rounds, {them.kills} killed, {them.stored} stored\n"
                )
                sys.stdout.flush()
    sys.stdout.write(f"{them.kills} killed, {them.stored} files stored: all whole\n")


if __name__ == "__main__":
    main()
