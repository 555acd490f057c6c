"""The command line as a whole: help, mistakes, versions."""

from __future__ import annotations

import click
import pytest

from sockserv import __version__
from sockserv.cli.complaints import complaint_about
from tests.cli.fakes import invoke

COMMANDS = [
    *([], ["ping"], ["echo"], ["config"], ["config", "check"]),
    *(["exec"], ["shell"], ["jobs"], ["attach"], ["wait"], ["kill"]),
    *(["login"], ["logout"], ["servers"], ["whoami"], ["invite"], ["identities"], ["revoke"]),
    *(
        ["put"],
        ["get"],
        ["sync"],
        ["ls"],
        ["stat"],
        ["mkdir"],
        ["mv"],
        ["rm"],
        ["digest"],
        ["usage"],
    ),
    *(["chat"], ["who"], ["policy"], ["policy", "explain"], ["policy", "commands"]),
]
ON_FILES_HERE = [
    *(["audit"], ["audit", "show"], ["audit", "verify"]),
    *(["certificate"], ["certificate", "show"], ["certificate", "renew"]),
    *(["config"], ["config", "check"], ["servers"], ["logout"]),
]


@pytest.mark.parametrize("command", [*COMMANDS, *ON_FILES_HERE[:6]], ids=" ".join)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_has_help(command: list[str], option: str) -> None:
    result = invoke([*command, option])
    assert result.return_value == 0
    assert result.stdout.startswith(f"Usage: {' '.join(['sockserv', *command])} ")
    assert ("--server URL" in result.stdout) == (command not in ON_FILES_HERE)
    assert "Example" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.mark.parametrize("command", ON_FILES_HERE, ids=" ".join)
def test_what_means_nothing_to_a_command_is_not_taken(command: list[str]) -> None:
    arguments = ["--server", "lab1"]
    for line in ([*command, *arguments], [*arguments, *command, "x"]):
        error = invoke(line).exception
        assert isinstance(error, click.UsageError)
        assert "--server" in str(error)


def test_the_environment_is_for_the_other_commands() -> None:
    assert invoke(["config", "check"], environ={"SOCKSERV_SERVER": "lab1"}).exception is None


def test_the_help_tells_the_exit_statuses() -> None:
    help_text = invoke(["--help"]).stdout
    assert "  3  no daemon, or no connection to it\n" in help_text


def test_the_version() -> None:
    assert invoke(["--version"]).stdout == f"sockserv {__version__}\n"


@pytest.mark.parametrize("command", [[], ["config"]])
def test_without_a_command_the_help_is_shown_as_an_error(command: list[str]) -> None:
    result = invoke(command)
    assert result.return_value == 2
    assert result.stdout == ""
    assert "Commands:" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pong"], "no such command 'pong'"),
        (["--json"], "missing command"),
        (["ping", "now"], "got unexpected extra argument (now)"),
        (
            ["ping", "--count", "-1"],
            "invalid value for '-c' / '--count': -1 is not in the range x>=0",
        ),
        (
            ["ping", "--count", "x"],
            "invalid value for '-c' / '--count': 'x' is not a whole number",
        ),
        (["--server"], "option '--server' requires an argument"),
    ],
)
def test_a_mistake_is_one_sentence(arguments: list[str], message: str) -> None:
    error = invoke(arguments).exception
    assert isinstance(error, click.UsageError)
    complaint = complaint_about(error)
    assert (complaint.code, complaint.status) == ("usage-error", 2)
    command = " ".join(["sockserv", *arguments[: arguments[0] == "ping"]])
    assert complaint.message == f"{message}; see `{command} --help`"


@pytest.mark.parametrize(
    "advice", [". Did you mean '--json'?", ". (Did you mean '--json'?)"], ids=["bare", "brackets"]
)
def test_advice_is_part_of_the_sentence(advice: str) -> None:
    complaint = complaint_about(click.UsageError(f"No such option '--jsn'{advice}"))
    assert complaint.message == (
        "no such option '--jsn' (did you mean '--json'?); see `sockserv --help`"
    )


def test_a_misspelt_option() -> None:
    error = invoke(["ping", "--cont", "3"]).exception
    assert error is not None
    message = complaint_about(error).message  # type: ignore[arg-type]  # it is no KeyboardInterrupt
    assert "'--cont'" in message
    assert "--count" in message
    assert message.endswith("; see `sockserv ping --help`")
