"""Real daemons: `twistd sockserv` as a process of its own, on state directories of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sockserv.errors import StateError
from sockserv.state import RunningDaemon, StateDirectory

if TYPE_CHECKING:
    from tests.integration.raw_client import WatchedDaemon
    from tests.integration.terminals import Account, Terminal

ROOT = Path(__file__).resolve().parent.parent.parent
TWISTD = Path(sys.executable).with_name("twistd")
DEADLINE_SECONDS = 90.0
"""Far more than anything takes, on a machine that is busy with other things."""
ANY_PORT = "tcp:0:interface=127.0.0.1"

_LONGEST_FILES = (
    "test_wheel",
    "test_crash_files",
    "test_people",
    "test_crash_jobs",
    "test_exec_commands",
    "test_kept_jobs",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that take longest come first: whoever began with one as the last would be waited for."""

    def place(item: pytest.Item) -> int:
        name = item.path.stem
        return _LONGEST_FILES.index(name) if name in _LONGEST_FILES else len(_LONGEST_FILES)

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two a core: half of the time a test waits, and not for a processor."""
    return 2 * len(os.sched_getaffinity(0))


def until(condition: Callable[[], object]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


_started: list[subprocess.Popen[Any]] = []


def start_process(command: Sequence[str | Path], **settings: Any) -> subprocess.Popen[Any]:
    """A process for the test that runs: what of it still runs when that ends, however it does, is killed."""
    _started.append(subprocess.Popen(command, **settings))
    return _started[-1]


@pytest.fixture(autouse=True)
def _what_was_started_has_ended() -> Iterator[None]:
    """No test gets to see what one before it has left: a process, or a warning about one."""
    yield
    while _started:
        process = _started.pop()
        process.kill()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        process.wait()


class Twistd:
    """A `twistd sockserv` in the foreground, with what it has printed so far in `output` and `errors`."""

    def __init__(self, folder: Path, *arguments: str, environ: dict[str, str]) -> None:
        self._output = folder / "stdout"
        self._errors = folder / "stderr"
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [TWISTD, "--nodaemon", "--pidfile=", "sockserv", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                cwd=folder,
                env=environ,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    def wait_until_listening(self, state: Path) -> RunningDaemon:
        """The note of this daemon, when it is there."""
        found: list[RunningDaemon] = []

        def listening() -> bool:
            assert self.process.poll() is None, self.errors + self.output
            try:
                found.append(StateDirectory(state).running())
            except StateError:
                return False
            return found[-1].pid == self.process.pid

        until(listening)
        return found[-1]

    def wait(self) -> int:
        """Wait for the end of the process; gives its exit status, -n for a signal."""
        return self.process.wait(DEADLINE_SECONDS)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, and wait for the end."""
        self.process.send_signal(number)
        return self.wait()


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment in which the account's own state directory is in `tmp_path`."""
    environ = {name: value for name, value in os.environ.items() if name != "SOCKSERV_STATE"}
    # The checkout, whether or not it is what is installed.
    return environ | {"PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(tmp_path / "account")}


@pytest.fixture
def twistd(tmp_path: Path, environ: dict[str, str]) -> Iterator[Callable[..., Twistd]]:
    """Starts `twistd sockserv` with these arguments; what still runs when the test ends is killed."""
    started: list[Twistd] = []

    def start(*arguments: str, **variables: str) -> Twistd:
        folder = tmp_path / f"twistd{len(started)}"
        folder.mkdir()
        started.append(Twistd(folder, *arguments, environ=environ | variables))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Where a daemon's state directory will be."""
    return tmp_path / "state"


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Opens a terminal in which somebody types `sockserv` with these arguments; what still runs there is killed."""
    from tests.integration.terminals import Terminal  # which is made of what is here

    opened: list[Terminal] = []

    def start(account: Account, *arguments: str, size: tuple[int, int] = (100, 30)) -> Terminal:
        opened.append(Terminal(account, *arguments, size=size))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.fixture
def watch(tmp_path: Path, environ: dict[str, str]) -> Iterator[Callable[..., WatchedDaemon]]:
    """Starts a daemon with these settings; when the test ends, its log must have nothing unforeseen."""
    from tests.integration.raw_client import WatchedDaemon  # which is made of what is here

    started: list[WatchedDaemon] = []

    def start(config: str = "") -> WatchedDaemon:
        folder = tmp_path / f"daemon{len(started)}"
        folder.mkdir()
        started.append(WatchedDaemon(folder, environ, config))
        return started[-1]

    yield start
    for one in started:
        one.end()
    for one in started:
        one.check_log()
