"""Programs that are really started: what they get, and what it is called when they cannot be."""

from __future__ import annotations

import errno
import os
import resource
import signal
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from sockserv.processes.starting import Launch, StartError, start

PATH = b"/usr/local/bin:/usr/bin:/bin"
NOBODY = 65_534

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only the superuser becomes somebody else"
)
both_ways = pytest.mark.parametrize("nice", [None, 1], ids=["spawned", "forked"])


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting leaves this process there."""
    monkeypatch.chdir("/")


@pytest.fixture
def null() -> Iterator[int]:
    file = os.open(os.devnull, os.O_RDWR)
    yield file
    os.close(file)


def launch(
    *arguments: str, environment: dict[bytes, bytes] | None = None, directory: bytes = b"/"
) -> Launch:
    return Launch(
        arguments=tuple(map(os.fsencode, arguments)),
        environment={b"PATH": PATH} if environment is None else environment,
        directory=directory,
    )


def output_of(what: Launch, null: int) -> str:
    """What a program writes, all in all."""
    reading, writing = os.pipe()
    pid = start(what, (null, writing, writing))
    os.close(writing)
    with open(reading) as file:
        output = file.read()
    os.waitpid(pid, 0)
    return output


def descriptors_in(output: str) -> set[int]:
    """The descriptors that were listed, but for those that whoever has started these tests wanted everybody to have."""
    listed = {int(name) for name in output.split()}
    known = {int(name) for name in os.listdir("/proc/self/fd")} - {0, 1, 2}
    return listed - {file for file in known & listed if is_inheritable(file)}


def is_inheritable(file: int) -> bool:
    try:
        return os.get_inheritable(file)
    except OSError:
        return False


def problem_of(what: Launch, null: int) -> tuple[str, str]:
    with pytest.raises(StartError) as caught:
        start(what, (null, null, null))
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)  # nothing is left of it
    return errno.errorcode[caught.value.errno], caught.value.what


@both_ways
class TestWhatItGets:
    def test_no_descriptors_but_three(self, null: int, nice: int | None) -> None:
        others = os.pipe()
        script = launch("sh", "-c", "ls /proc/$$/fd")._replace(nice=nice)
        assert descriptors_in(output_of(script, null)) == {0, 1, 2}
        for file in others:
            os.close(file)

    def test_its_environment_and_nothing_else(self, null: int, nice: int | None) -> None:
        environment = {b"A": b"1", b"\xc3\xbc": b"x=\n"}
        script = launch("/usr/bin/env", environment=environment)._replace(nice=nice)
        assert output_of(script, null) == "A=1\nü=x=\n\n"

    def test_its_directory(self, null: int, nice: int | None, tmp_path: Path) -> None:
        script = launch("pwd", directory=os.fsencode(tmp_path))._replace(nice=nice)
        assert output_of(script, null) == f"{tmp_path}\n"
        assert os.getcwd() == "/"

    def test_a_session_and_a_group_of_its_own(self, null: int, nice: int | None) -> None:
        script = launch("sh", "-c", "cut -d' ' -f1,5,6,7 /proc/$$/stat")._replace(nice=nice)
        pid, group, session, terminal = output_of(script, null).split()
        assert (pid, pid, "0") == (group, session, terminal)

    def test_no_signal_is_ignored_or_blocked(self, null: int, nice: int | None) -> None:
        before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        try:
            script = launch("grep", "-E", "Sig(Ign|Blk)", "/proc/self/status")._replace(nice=nice)
            output = output_of(script, null)
        finally:
            signal.signal(signal.SIGUSR1, before)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
        # The two below belong to the C library, which leaves them ignored; no program sees them.
        of_library = 1 << 31 | 1 << 32
        assert [int(line.split()[1], 16) & ~of_library for line in output.splitlines()] == [0, 0]

    def test_the_first_of_that_name_that_can_be_run(
        self, null: int, nice: int | None, tmp_path: Path
    ) -> None:
        for name, mode, text in ("a", 0o644, "no"), ("b", 0o755, "yes"), ("c", 0o755, "no"):
            (tmp_path / name).mkdir()
            script = tmp_path / name / "which"
            script.write_text(f"#!/bin/sh\necho {text}\n")
            script.chmod(mode)
        path = ":".join(["", str(tmp_path), *(f"{tmp_path}/{name}" for name in "abc")])
        what = launch("which", environment={b"PATH": path.encode()})._replace(nice=nice)
        assert output_of(what, null) == "yes\n"

    def test_the_empty_folder_of_a_path_is_no_folder(
        self, null: int, nice: int | None, tmp_path: Path
    ) -> None:
        script = tmp_path / "here"
        script.write_text("#!/bin/sh\n")
        script.chmod(0o755)
        what = launch("here", environment={b"PATH": b":"}, directory=os.fsencode(tmp_path))
        assert problem_of(what._replace(nice=nice), null) == ("ENOENT", "program")


@both_ways
class TestWhatCannotBeStarted:
    @pytest.mark.parametrize(
        ("what", "problem"),
        [
            (launch("no-such-program"), ("ENOENT", "program")),
            (launch("/no/such/program"), ("ENOENT", "program")),
            (launch("/etc/passwd/program"), ("ENOENT", "program")),
            (launch(""), ("ENOENT", "program")),
            (launch("/etc/passwd"), ("EACCES", "program")),
            (launch("/etc"), ("EACCES", "program")),
            (launch("/bin/" + "x" * 300), ("ENAMETOOLONG", "program")),
            (launch("true", directory=b"/no/such/folder"), ("ENOENT", "directory")),
            (launch("true", directory=b"/etc/passwd"), ("ENOTDIR", "directory")),
            (launch("true", "x" * 200_000), ("E2BIG", "program")),
            (launch("true", *["x" * 100_000] * 100), ("E2BIG", "program")),
            (launch("/bin/true", "\0"), ("EINVAL", "program")),
            (launch("/bin/true\0"), ("EINVAL", "program")),
            (launch("true", directory=b"/\0"), ("EINVAL", "directory")),
            (launch("/bin/true", environment={b"A=B": b""}), ("EINVAL", "program")),
            (launch("/bin/true", environment={b"A": b"\0"}), ("EINVAL", "program")),
        ],
        ids=lambda value: "-".join(value) if isinstance(value[0], str) else "",
    )
    def test_what_it_is_called(
        self, null: int, nice: int | None, what: Launch, problem: tuple[str, str]
    ) -> None:
        assert problem_of(what._replace(nice=nice), null) == problem

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("#!/no/such/interpreter\n", ("ENOENT", "interpreter")),
            ("no program at all\n", ("ENOEXEC", "program")),
            ("", ("ENOEXEC", "program")),
        ],
    )
    def test_what_is_no_program(
        self, null: int, nice: int | None, tmp_path: Path, text: str, problem: tuple[str, str]
    ) -> None:
        script = tmp_path / "script"
        script.write_text(text)
        script.chmod(0o755)
        assert problem_of(launch(str(script))._replace(nice=nice), null) == problem

    def test_a_program_that_is_being_written(
        self, null: int, nice: int | None, tmp_path: Path
    ) -> None:
        program = tmp_path / "program"
        program.write_bytes(Path("/bin/true").read_bytes())
        program.chmod(0o755)
        with program.open("ab"):
            what = launch(str(program))._replace(nice=nice)
            assert problem_of(what, null) == ("ETXTBSY", "program")


class TestLimits:
    def limits_of(self, null: int, *limits: tuple[int, int, int]) -> dict[str, list[str]]:
        output = output_of(launch("cat", "/proc/self/limits")._replace(limits=limits), null)
        return {line[:26].strip(): line[26:].split()[:2] for line in output.splitlines()}

    def test_they_hold(self, null: int) -> None:
        found = self.limits_of(
            null,
            (resource.RLIMIT_CPU, 5, 6),
            (resource.RLIMIT_AS, 10**9, 10**9),
            (resource.RLIMIT_NOFILE, 20, 20),
            (resource.RLIMIT_FSIZE, 0, 0),
        )
        assert found["Max cpu time"] == ["5", "6"]
        assert found["Max address space"] == ["1000000000"] * 2
        assert found["Max open files"] == ["20", "20"]
        assert found["Max file size"] == ["0", "0"]

    def test_more_than_may_be_is_what_may_be(self, null: int) -> None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        found = self.limits_of(null, (resource.RLIMIT_NOFILE, most + 1, most + 2))
        assert found["Max open files"] == [str(most)] * 2

    def test_one_that_is_no_number_of_the_system(self, null: int) -> None:
        what = launch("true")._replace(limits=((resource.RLIMIT_NOFILE, 2**80, 2**80),))
        pid = start(what, (null, null, null))
        os.waitpid(pid, 0)
        what = launch("true")._replace(limits=((resource.RLIMIT_FSIZE, 2**80, 2**80),))
        assert problem_of(what, null) == ("EINVAL", "program")

    def test_so_little_that_no_program_can_begin(self, null: int) -> None:
        what = launch("true")._replace(limits=((resource.RLIMIT_AS, 4096, 4096),))
        pid = start(what, (null, null, null))
        _, status = os.waitpid(pid, 0)
        assert status != 0

    @needs_root
    def test_a_priority_that_this_account_may_not_give(self, null: int) -> None:
        what = launch("true")._replace(nice=-5, account=(NOBODY, NOBODY, ()))
        _, status = os.waitpid(start(what, (null, null, null)), 0)  # it is taken before the account
        assert status == 0


@needs_root
class TestAccounts:
    def test_a_user_a_group_and_groups(self, null: int) -> None:
        what = launch("sh", "-c", "grep -E '^(Uid|Gid|Groups)' /proc/self/status")
        output = output_of(what._replace(account=(NOBODY, 12, (13, 14))), null)
        assert [line.split()[1:] for line in output.splitlines()] == [
            [str(NOBODY)] * 4,
            ["12"] * 4,
            ["13", "14"],
        ]

    def test_a_directory_that_only_we_may_see(self, null: int, tmp_path: Path) -> None:
        tmp_path.chmod(0o700)
        what = launch("true", directory=os.fsencode(tmp_path))
        account = (NOBODY, NOBODY, ())
        assert problem_of(what._replace(account=account), null) == ("EACCES", "directory")

    def test_a_program_that_only_we_may_run(self, null: int, tmp_path: Path) -> None:
        program = tmp_path / "program"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o700)
        what = launch(str(program))._replace(account=(NOBODY, NOBODY, ()))
        assert problem_of(what, null) == ("EACCES", "program")

    @pytest.mark.parametrize("account", [(2**32 - 1, 1, ()), (1, 1, (2**40,)), (2**70, 1, ())])
    def test_an_account_that_cannot_be(
        self, null: int, account: tuple[int, int, tuple[int, ...]]
    ) -> None:
        what = launch("true")._replace(account=account)
        assert problem_of(what, null) == ("EINVAL", "account")

    def test_the_terminal_is_its_own(self) -> None:
        here, there = os.openpty()
        what = launch("stat", "-Lc", "%u %a", "/dev/stdin")
        what = what._replace(account=(NOBODY, NOBODY, ()), has_terminal=True)
        pid = start(what, (there, there, there))
        assert os.read(here, 100) == b"65534 620\r\n"
        os.waitpid(pid, 0)
        os.close(here)
        os.close(there)


def test_a_terminal_controls_the_session() -> None:
    here, there = os.openpty()
    termios.tcsetwinsize(here, (33, 99))
    script = "stty size; ps -o tpgid= -p $$; echo $$ >/dev/tty; ls /proc/$$/fd"
    pid = start(launch("sh", "-c", script)._replace(has_terminal=True), (there, there, there))
    os.close(there)
    output = b""
    while True:
        try:
            output += os.read(here, 1000)
        except OSError:  # EIO: nobody has it open any more
            break
    os.waitpid(pid, 0)
    os.close(here)
    size, foreground, shell, *descriptors = output.decode().splitlines()
    assert size == "33 99"
    assert int(foreground) == int(shell) == pid
    assert descriptors_in(" ".join(descriptors)) == {0, 1, 2}


def test_what_is_no_terminal(null: int) -> None:
    what = launch("true")._replace(has_terminal=True)
    assert problem_of(what, null) == ("ENOTTY", "terminal")


class TestAMachineThatIsFull:
    @needs_root
    def test_no_more_processes(self, null: int) -> None:
        """As somebody who has one process, and may have no more: what is to start others."""
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.setgid(NOBODY - 7)
            os.setuid(NOBODY - 7)
            resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
            for nice in None, 1:
                try:
                    start(launch("true")._replace(nice=nice), (null, null, null))
                except StartError as error:
                    os.write(writing, f"{errno.errorcode[error.errno]} {error.what} ".encode())
            os._exit(0)
        os.close(writing)
        with open(reading) as told:
            assert told.read() == "EAGAIN process EAGAIN process "
        os.wait()

    def test_no_more_files(self, null: int) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest_free = os.dup(null)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
        try:
            with pytest.raises(StartError) as caught:
                start(launch("true")._replace(nice=1), (null, null, null))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert (caught.value.errno, caught.value.what) == (errno.EMFILE, "process")
