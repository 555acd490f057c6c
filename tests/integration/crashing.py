"""What all who kill daemons have in common: the daemon, and the command line of those who kill by the hundred."""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.integration.conftest import ANY_PORT, Twistd
from tests.integration.test_cli import environment

__all__ = ["Breach", "KilledDaemon", "main"]


class Breach(Exception):
    """Something that must not be."""


class KilledDaemon:
    """A daemon that is killed and started again, its `state`, and what was done by `counts`."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder = folder
        self.chance = chance
        self.counts: Counter[str] = Counter()
        self.state = folder / "state"
        self._daemons = 0

    @property
    def environment(self) -> dict[str, str]:
        """That of a command that talks to it."""
        return environment(SOCKSERV_STATE=str(self.state))

    def start_daemon(self) -> None:
        """Start another one, and wait until it listens."""
        folder = self.folder / f"daemon{self._daemons}"
        folder.mkdir()
        self._daemons += 1
        self.daemon = Twistd(
            folder, "--listen", ANY_PORT, "--state", str(self.state), environ=environment()
        )
        self.daemon.wait_until_listening(self.state)

    def end(self) -> None:
        """Kill the daemon for good."""
        self.daemon.process.kill()
        self.daemon.wait()


def main(run: Callable[..., Counter[str]], description: str | None) -> int:
    """Call `run` with a new folder, `kills` and `seed` from the command line, and say what it has done; the status."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    parser.add_argument("--folder", type=Path, help="where; a new folder is made in it")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="crash-", dir=options.folder))
    print(f"seed {options.seed}, in {folder}", flush=True)  # noqa: T201  # a script for people
    try:
        counts = run(folder, kills=options.kills, seed=options.seed)
    except Breach as breach:
        print(f"BREACH: {breach}")  # noqa: T201
        return 1
    for what, count in sorted(counts.items()):
        print(f"{count:6} {what}")  # noqa: T201
    shutil.rmtree(folder)
    return 0
