"""What takes part: a server that serves a folder, and a client that gets from it and puts into it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import attrs

from benchmarks.processes import ROOT, BenchmarkError

__all__ = ["Command", "Contender", "Job", "Program", "Session", "Task"]


class Task(Enum):
    """What is to be done."""

    GET = "get"
    PUT = "put"
    DISCARD = "discard"
    """Get, and throw away what comes."""
    PUT_TREE = "put tree"
    GET_TREE = "get tree"


@attrs.frozen
class Job:
    """A task; `served` is a path in the server's folder, relative to it, and `local` one of the client."""

    task: Task
    served: str
    local: Path


class Session(Protocol):
    """A server that runs, with its client."""

    @property
    def server_pid(self) -> int:
        """The server's process, or the one that all its others come from."""

    def run(self, job: Job) -> float:
        """Do it; returns how many seconds it took, as the client tells."""


@attrs.frozen(kw_only=True)
class Contender:
    """`start` serves a folder.

    `needs` names the programs and modules that it is made of, see `benchmarks.files.needs`.
    """

    name: str
    tasks: frozenset[Task]
    start: Callable[[Path], AbstractContextManager[Session]]
    needs: tuple[str, ...] = ()
    is_secure: bool = False


@attrs.frozen
class Command:
    """A client that is a command of its own each time: it is timed whole, from its start to its end."""

    server_pid: int
    command_of: Callable[[Job], list[str]]

    def run(self, job: Job) -> float:
        """Run the command."""
        return timed(self.command_of(job))


def timed(command: list[str]) -> float:
    """How long a command takes; raises `BenchmarkError` when it fails."""
    started = time.perf_counter()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise BenchmarkError(f"{' '.join(command)} ended with status {done.returncode}: {said}")
    return seconds


class Program:
    """A client that is a program with a library, connected before the clock starts: `benchmarks.clients.KIND.NAME`.

    It is given a job as a line of JSON, and answers with the seconds that it took.
    """

    def __init__(self, server_pid: int, name: str, *, kind: str = "files", **plan: Any) -> None:
        self.server_pid = server_pid
        self.plan = plan
        self._name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.clients.{kind}.{name}"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ask(plan)

    def ask(self, question: Any) -> Any:
        """Send a line of JSON; gives the one that comes back."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise BenchmarkError(f"{self._name} ended when asked for {question}")
        return json.loads(line)

    def run(self, job: Job) -> float:
        """Have it done."""
        seconds: float = self.ask(
            {"task": job.task.value, "served": job.served, "local": str(job.local)}
        )
        return seconds

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
