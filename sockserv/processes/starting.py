"""Starting a program: with given descriptors, as an account, within limits, in a session of its own.

Only for a process of one thread: it changes its own directory meanwhile, and forks. All its other descriptors have to
be closed by `exec`, as Python makes them, or the program would have them, too.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, NoReturn, TypeAlias, TypeVar

__all__ = ["Launch", "Limit", "StartError", "start"]

T = TypeVar("T")

Limit: TypeAlias = tuple[int, int, int]
"""A limit of setrlimit(2): which one, the soft one and the hard one.

What is more than this process may have is made that.
"""

_NOT_HERE: Final = {errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ESTALE, errno.ETIMEDOUT}
"""For these errors a program is looked for in the next folder, as execvp(3) does."""

_NO_PROCESS: Final = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
"""What the machine has run out of, whatever the program is."""

_TERMINAL_MODE: Final = 0o620


class Launch(NamedTuple):
    """A program to start.

    `arguments` are never empty. The first is the program: a name without a slash is looked for in the `PATH` of
    `environment`, which is all that it gets of one. `directory` is absolute. `account` has the numbers of a user, a
    group, and the other groups; None for those of this process. `nice` is added to the priority. With `has_terminal`
    the descriptors are a terminal, which will be the one that controls the session.
    """

    arguments: tuple[bytes, ...]
    environment: Mapping[bytes, bytes]
    directory: bytes
    account: tuple[int, int, Sequence[int]] | None = None
    limits: Sequence[Limit] = ()
    nice: int | None = None
    has_terminal: bool = False


class StartError(Exception):
    """A program could not be started. `errno` is the system's number, `what` the part that failed.

    That is `program`, `interpreter` (which the program wants, and is not there), `directory`, `account`, `nice`,
    `terminal`, or `process`: the machine has no room for another one.
    """

    def __init__(self, errno: int | None, what: str) -> None:
        super().__init__(errno, what)
        self.errno = errno or 0
        self.what = what


def start(launch: Launch, descriptors: tuple[int, int, int]) -> int:
    """Start a program with these three as its standard input, output and error; gives the number of its process.

    They are above 2, and stay open here. The program leads a session and a process group of its own, no signal is
    blocked or ignored in it, and its limits are those of this process where `launch` has no others. Blocks until it
    runs. Raises `StartError`, and then nothing is left of it.
    """
    plain = launch.account is None and launch.nice is None
    try:
        if plain and not launch.limits and not launch.has_terminal:
            return _spawn(launch, descriptors)
        return _fork(launch, descriptors)
    except ValueError as error:  # a NUL in a word, or a "=" in the name of a variable
        raise StartError(errno.EINVAL, "program") from error


def _spawn(launch: Launch, descriptors: tuple[int, int, int]) -> int:
    """The fast way, without a copy of this process; it cannot do everything."""
    actions = [(os.POSIX_SPAWN_DUP2, file, number) for number, file in enumerate(descriptors)]

    def spawn(path: bytes) -> int:
        return os.posix_spawn(
            path,
            launch.arguments,
            launch.environment,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=_CHANGED_SIGNALS,
        )

    _step("directory", os.chdir, launch.directory)
    try:
        return _try_paths(launch, spawn)
    except NotImplementedError:
        return _fork(launch, descriptors)
    finally:
        os.chdir("/")  # whatever is mounted there may be unmounted


def _fork(launch: Launch, descriptors: tuple[int, int, int]) -> int:
    """The way that can do everything: a copy of this process becomes the program, or tells what keeps it from that."""
    # Both are closed by exec, so nothing comes when all is well.
    reading, writing = _step("process", os.pipe)
    try:
        process = _step("process", os.fork)
        if process == 0:
            _become(launch, descriptors, writing)
    finally:
        os.close(writing)
        with open(reading, "rb") as complaints:
            complaint = complaints.read()
    if not complaint:
        return process
    os.waitpid(process, 0)
    number, what = complaint.decode().split()
    raise StartError(int(number), what)


def _become(launch: Launch, descriptors: tuple[int, int, int], complaints: int) -> NoReturn:
    """In the copy: be the program."""
    try:
        try:
            signal.set_wakeup_fd(-1)
            _lead_session(launch, descriptors)
            _take_account(launch)
            _step("directory", os.chdir, launch.directory)
            _reset_signals()
            _limit(launch.limits)
            _try_paths(launch, lambda path: os.execve(path, launch.arguments, launch.environment))
        except StartError:
            raise
        except OSError as error:
            raise StartError(error.errno, "process") from error
        except MemoryError as error:
            raise StartError(errno.ENOMEM, "process") from error
        except Exception as error:  # a NUL in a word, or a number that is too large
            raise StartError(errno.EINVAL, "program") from error
    except StartError as error:
        os.write(complaints, f"{error.errno} {error.what}".encode())
    finally:
        os._exit(255)


def _step(what: str, function: Callable[..., T], *args: object) -> T:
    try:
        return function(*args)
    except OSError as error:
        raise StartError(error.errno, what) from error
    except (ValueError, OverflowError) as error:  # a NUL in a path, or a number that is too large
        raise StartError(errno.EINVAL, what) from error


def _lead_session(launch: Launch, descriptors: tuple[int, int, int]) -> None:
    if launch.has_terminal:
        if launch.account is not None:
            _step("terminal", os.fchown, descriptors[0], launch.account[0], -1)
            _step("terminal", os.fchmod, descriptors[0], _TERMINAL_MODE)
        _step("terminal", os.login_tty, descriptors[0])
        return
    os.setsid()
    for number, file in enumerate(descriptors):
        _step("process", os.dup2, file, number)


def _take_account(launch: Launch) -> None:
    if launch.nice is not None:
        _step("nice", os.nice, launch.nice)  # while it may still be less
    if launch.account is not None:
        user, group, groups = launch.account
        _step("account", os.setgroups, groups)
        _step("account", os.setgid, group)
        _step("account", os.setuid, user)


def _reset_signals() -> None:
    for number in _CHANGED_SIGNALS:
        with suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _limit(limits: Sequence[Limit]) -> None:
    for number, soft, hard in limits:
        _, most = resource.getrlimit(number)
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        resource.setrlimit(number, (soft, hard))


def _try_paths(launch: Launch, run: Callable[[bytes], T]) -> T:
    """Run the first program of that name that can be run; raises `StartError`."""
    problem = StartError(errno.ENOENT, "program")
    for path in _paths_of(launch):
        try:
            return run(path)
        except OSError as error:
            number = error.errno or 0
        if number in _NO_PROCESS:
            raise StartError(number, "process")
        if number in _NOT_HERE:
            if os.path.exists(path):
                problem = StartError(number, "interpreter")
        elif number == errno.EACCES:
            problem = StartError(number, "program")
        else:
            raise StartError(number, "program")
    raise problem


def _paths_of(launch: Launch) -> Iterator[bytes]:
    """Where the program may be. An empty part of the `PATH` is not the current directory here, as execvp(3) has it."""
    program = launch.arguments[0]
    if b"/" in program:
        yield program
        return
    path = launch.environment.get(b"PATH", os.defpath.encode())
    for folder in filter(None, path.split(b":")):
        candidate = b"%b/%b" % (folder, program)
        if (
            program and b"\0" not in candidate and os.access(candidate, os.F_OK)
        ):  # faster than to try it
            yield candidate


_CHANGED_SIGNALS: Final = tuple(map(int, signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}))
"""All that can be: whoever has started this process may have had some of them ignored."""
