"""The command line of `twistd sockserv`, and how a daemon that does not start says so."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.application.service import IService, Service
from twisted.cred.credentials import IUsernamePassword
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent

from sockserv import __version__, tap
from sockserv.errors import LocalError

Run = Callable[..., tap.OneLineService]


def parse(*arguments: str) -> tap.Options:
    options = tap.Options()
    options.parseOptions(arguments)
    return options


def test_without_options() -> None:
    settings = parse().settings
    assert [endpoint.url for endpoint in settings.listen] == ["tcp://127.0.0.1:7700"]


def test_all_options(tmp_path: Path) -> None:
    config = tmp_path / "settings.toml"
    config.write_text("limits.max_calls = 5\nlisten = ['unix:/x']")
    state = tmp_path / "state"
    listen = ["--listen", "unix:/a", "-l", "unix:/b"]
    settings = parse("--config", str(config), *listen, f"--state={state}", "--root=/r").settings
    assert settings.limits.max_calls == 5
    assert [endpoint.url for endpoint in settings.listen] == ["unix:///a", "unix:///b"]
    assert settings.state.path == state
    assert settings.files.root == Path("/r")


def test_classic_options() -> None:
    classic = parse(
        "--classic-echo=unix:/a",
        "--classic-exec-low=unix:/b",
        "--classic-exec=unix:/c",
        "--classic-put=unix:/d",
        "--classic-identity=lab",
    ).settings.classic
    urls = {str(dialect): endpoint.url for dialect, endpoint in classic.endpoints.items()}
    assert urls == {
        "echo": "unix:///a",
        "exec_low": "unix:///b",
        "exec": "unix:///c",
        "put": "unix:///d",
    }
    assert classic.identity == "lab"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--what"], "option --what not recognized; see `twistd sockserv --help`"),
        (["what"], "unexpected argument 'what'; see `twistd sockserv --help`"),
        (["--auth", "what"], "Auth plugin not recognized: what; see `twistd sockserv --help`"),
        (["--auth", "anonymous"], "Auth plugin not supported: "),
        (["--auth", "memory:a"], "argstring must be in format U:P:"),
        (["--auth", "memory:a:b", "--auth", "unix"], "--auth is there already, and only one"),
        (["--state"], "option --state requires argument; see `twistd sockserv --help`"),
        (["--listen", "tcp:x"], "tcp:x: the port must be a number from 0 to 65535, not 'x'"),
        (["--config", "/none"], "/none: cannot be read: no such file or directory"),
        (["--config", ""], ": cannot be read: is a directory"),
        (["--state", "~nobody-here"], "cannot tell which directory ~nobody-here is: Could not"),
    ],
)
def test_a_wrong_option_is_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(*arguments)
    line = caught.value.code
    assert isinstance(line, str)  # which the interpreter prints on standard error, with status 1
    assert line.startswith("sockserv: ")
    assert message in line
    assert "\n" not in line


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse("--help")
    assert not caught.value.code
    text = capsys.readouterr().out
    for word in ("--config", "--listen", "--state", "SOCKSERV_STATE", "unix:", "max_calls"):
        assert word in text


def test_somebody_to_ask_about_passwords() -> None:
    assert parse().checkers == []
    (checker,) = parse("--auth", "memory:alice:secret").checkers
    assert IUsernamePassword in checker.credentialInterfaces


def test_help_on_that() -> None:
    options = tap.Options()
    options.authOutput = io.StringIO()
    with pytest.raises(SystemExit) as caught:
        options.parseOptions(["--help-auth"])
    assert not caught.value.code
    text = options.authOutput.getvalue()
    assert "file" in text
    assert "anonymous" not in text, "nobody comes in without a name"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse("--version")
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"sockserv {__version__}\n"


class Reactor(MemoryReactorClock):
    turns = 0

    def iterate(self, delay: float = 0) -> None:
        self.turns += 1


class Unwilling(Service):
    def startService(self) -> None:
        raise LocalError("it is too early")


class Willing(Service):
    def stopService(self) -> str:
        return "stopped"


class TestRunningUnderTwistd:
    @pytest.fixture
    def reactor(self) -> Reactor:
        return Reactor()

    @pytest.fixture
    def calls(self) -> list[str]:
        return []

    @pytest.fixture
    def run(self, reactor: Reactor, calls: list[str]) -> Run:
        def run(daemon: IService, *, in_foreground: bool) -> tap.OneLineService:
            return tap.OneLineService(
                reactor,
                daemon,
                in_foreground=in_foreground,
                before_stop=lambda: calls.append("before"),
            )

        return run

    def test_in_the_foreground_the_line_goes_to_standard_error(
        self, run: Run, reactor: Reactor, capfd: pytest.CaptureFixture[str]
    ) -> None:
        service = run(Unwilling(), in_foreground=True)
        with pytest.raises(SystemExit) as caught:
            service.startService()
        assert caught.value.code == 1
        assert capfd.readouterr().err == "sockserv: it is too early\n"
        assert reactor.turns > 1

    def test_in_the_background_it_goes_to_the_log_and_to_who_waits(self, run: Run) -> None:
        service = run(Unwilling(), in_foreground=False)
        with capturedLogs() as events, pytest.raises(SystemExit) as caught:
            service.startService()
        assert [formatEvent(event) for event in events] == ["sockserv: it is too early"]
        # twistd tells the process that waits about an Exception, and about nothing else.
        assert isinstance(caught.value, Exception)
        assert str(caught.value) == "it is too early"

    def test_a_daemon_that_starts(self, run: Run, calls: list[str]) -> None:
        service = run(Willing(), in_foreground=True)
        service.startService()
        assert calls == []
        assert service.stopService() == "stopped"
        assert calls == ["before"]


class TestTheClientsCommand:
    def test_it_lies_beside_twistd(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "sockserv").touch()
        monkeypatch.setattr("sys.argv", [str(tmp_path / "twistd")])
        assert tap.client_command() == str(tmp_path / "sockserv")
        monkeypatch.chdir(tmp_path.parent)
        assert tap.client_command() == os.path.join(tmp_path.name, "sockserv")

    def test_it_does_not(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.argv", [str(tmp_path / "twistd")])
        assert tap.client_command() == "sockserv"
