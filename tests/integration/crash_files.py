"""Kills clients and daemons in the middle of transfers, again and again, and looks at every file afterwards.

    python -m tests.integration.crash_files --kills 200 --seed 1 --folder /some/disk

Each file says in its first line which version of which name it is, and the rest follows from that. So each file that is
found anywhere under its own name can be compared, byte by byte, with what some version of it was. What has to hold
after every kill:

1. Every file under its own name is a whole version of it, at the daemon and here.
2. What was acknowledged is there: that version, or one that was offered later.

It ends with status 1 and the first breach, or prints what it has done.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from functools import cache
from pathlib import Path

from blake3 import blake3

from tests.integration.conftest import start_process
from tests.integration.crashing import Breach, KilledDaemon, main
from tests.integration.test_cli import SOCKSERV

MAX_SECONDS_TO_LIVE = 1.2
_PARTIAL = ".sockserv-partial-"


def content_of(name: str, version: int) -> bytes:
    """Everything about a version of a file, its size too, follows from its name and number."""
    chance = random.Random(f"{name} {version}")
    size = chance.choice([0, 100, 5_000, 70_000, 3_000_000, 40_000_000 if name == "large" else 0])
    return f"{name} {version}\n".encode() + chance.randbytes(size)


@cache
def digest_of(name: str, version: int) -> str:
    """The digest of a version of a file: to make all of it again at each look takes longer than anything else."""
    return blake3(content_of(name, version)).hexdigest()


def version_in(path: Path, name: str) -> int:
    """Which whole version a file is. Raises `Breach` when it is none."""
    data = path.read_bytes()
    head = data.partition(b"\n")[0].decode("utf-8", "replace").rpartition(" ")
    if (
        head[0] != name
        or not head[2].isdigit()
        or blake3(data).hexdigest() != digest_of(name, int(head[2]))
    ):
        raise Breach(f"{path} is not whole: {len(data)} bytes that begin with {data[:60]!r}")
    return int(head[2])


def versions_in(folder: Path) -> dict[str, int]:
    """The version of every file in a folder."""
    return {
        str(path.relative_to(folder)): version_in(path, str(path.relative_to(folder)))
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(_PARTIAL)
    }


class Crashes(KilledDaemon):
    """A daemon, a folder here, and the kills."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        super().__init__(folder, chance)
        self.offered: dict[str, int] = {}
        self.acknowledged: dict[str, int] = {}
        self.here = folder / "here"
        self.back = folder / "back"
        self.there = self.state / "files/tree"
        for each in (self.here, self.back):
            each.mkdir()
        self.start_daemon()

    def new_versions(self) -> None:
        names = ["large", *(f"照片/{number}" for number in range(40)), *"abc"]
        for name in self.chance.sample(names, 8):
            self.offered[name] = self.offered.get(name, 0) + 1
            path = self.here / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content_of(name, self.offered[name]))

    def round(self) -> None:
        """One command, one kill, one look at everything."""
        if self.chance.random() < 0.7:
            self.new_versions()
        is_push = self.chance.random() < 0.6
        commands = (
            [["put", "-f", "-r", "here", "tree"], ["sync", "here", "tree"]]
            if is_push
            else [["get", "-f", "-r", "tree", "back"], ["sync", "--pull", "back", "tree"]]
        )
        arguments = self.chance.choice(commands)
        before = dict(self.offered)
        process = start_process(
            [*SOCKSERV, arguments[0], "--json", *arguments[1:]],
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            output, errors = process.communicate(
                timeout=self.chance.uniform(0.2, MAX_SECONDS_TO_LIVE)
            )
        except subprocess.TimeoutExpired:
            if self.chance.random() < 0.4:
                self.daemon.process.kill()
                self.daemon.wait()
                self.counts["daemons killed"] += 1
                output, errors = process.communicate(timeout=60)
                self.start_daemon()
            else:
                process.kill()
                output, errors = process.communicate()
                self.counts["clients killed"] += 1
        self.counts[f"{arguments[0]} ended with {process.returncode}"] += 1
        if b"should not have happened" in errors:
            raise Breach(errors.decode())
        if is_push:
            self._take_acknowledgements(output, before)
        self.check()

    def _take_acknowledgements(self, output: bytes, offered: dict[str, int]) -> None:
        for line in output.splitlines():
            try:
                values = json.loads(line)
            except ValueError:
                continue  # it was cut
            if values.get("state") in ("done", "same"):
                name = values["path"].removeprefix("tree/")
                self.acknowledged[name] = offered[name]

    def check(self) -> None:
        """Look at every file."""
        stored = versions_in(self.there) if self.there.exists() else {}
        for name, version in self.acknowledged.items():
            if not version <= stored.get(name, 0) <= self.offered[name]:
                raise Breach(
                    f"{name}: version {version} was acknowledged, and {stored.get(name)} is there"
                )
        for name, version in versions_in(self.back).items():
            if version > self.offered[name]:
                raise Breach(f"{name}: version {version} never was")

    def converge(self) -> None:
        """Without any more kills, all of it arrives."""
        for arguments in (["sync", "here", "tree"], ["sync", "--pull", "back", "tree"]):
            deadline = time.monotonic() + 60
            while True:
                done = subprocess.run(
                    [*SOCKSERV, *arguments],
                    env=self.environment,
                    cwd=self.folder,
                    capture_output=True,
                    check=False,
                    timeout=120,
                )
                if not done.returncode:
                    break
                if time.monotonic() > deadline:
                    raise Breach(f"{arguments} goes on to fail: {done.stderr.decode()}")
                time.sleep(0.5)
        if not versions_in(self.there) == versions_in(self.back) == self.offered:
            raise Breach("not everything has arrived")


def run(folder: Path, *, kills: int, seed: int) -> Counter[str]:
    """Kill so many times; gives what was done. Raises `Breach`."""
    crashes = Crashes(folder, random.Random(seed))
    try:
        while crashes.counts["clients killed"] + crashes.counts["daemons killed"] < kills:
            crashes.round()
        crashes.converge()
    finally:
        crashes.end()
    return crashes.counts


if __name__ == "__main__":
    sys.exit(main(run, __doc__))
