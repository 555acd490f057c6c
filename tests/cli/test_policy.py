"""`sockserv policy`, against the policy of a daemon."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click
import pytest

from sockserv.errors import PermissionDenied
from sockserv.execution.arguments import ExplainArguments
from sockserv.execution.outcome import Explanation
from sockserv.services import Call, operation
from sockserv.services.api import Audit
from sockserv.services.execution.policy import ExecutionPolicy
from sockserv.services.execution.policy.configuration import parse_configuration
from sockserv.services.execution.policy.service import Rules
from sockserv.testing import MemoryServer
from sockserv.trust import Identity
from tests.cli.fakes import assert_hung_up
from tests.cli.running import Run
from tests.services.execution.policy.kit import OWNER, FakeAccounts, alice

COMMANDS = """
[commands.flash]
description = "Write an image to a board"
argv = ["/no/flash", "--port={port}", "{label}"]
terminal = true

[commands.flash.parameters.port]
type = "integer"
min = 0
max = 7
description = "The socket it is in"

[commands.flash.parameters.label]
type = "choice"
choices = ["new", "old"]
default = "new"

[commands.uptime]
argv = ["/no/uptime"]
"""


class Explaining(Rules):
    """The policy of a daemon with an owner and alice, who asks as the owner."""

    def __init__(self) -> None:
        configuration = parse_configuration(COMMANDS, file="commands.toml")
        self.policy = ExecutionPolicy(configuration=lambda: configuration, accounts=FakeAccounts())
        super().__init__(self.policy)

    @operation("exec.explain", args=ExplainArguments, permission="exec", audit=Audit.READS)
    async def explain(self, call: Call[ExplainArguments]) -> Explanation:
        if call.args.identity == "bob":
            raise PermissionDenied("you may not ask that")
        identity = alice("flash", "/no/df") if call.args.identity == "alice" else OWNER
        return await self.policy.explain(identity, call.args, call.in_thread)


@pytest.fixture
def run() -> Iterator[Run]:
    with MemoryServer([Explaining()]) as memory:
        yield Run(memory)
        assert_hung_up(memory)


def text_of(run: Run) -> str:
    content: bytes = run.output.content
    return content.decode()


class TestExplain:
    def test_what_is_allowed(self, run: Run) -> None:
        assert run.status("policy", "explain", "--as", "alice", "--", "flash", "3") == 0
        assert text_of(run) == (
            "allowed by flash: alice may run the command flash, which takes these values\n"
            "runs /no/flash --port=3 new\n"
            "warning: /no/df: there is no program /no/df, or it cannot be looked at.\n"
            "warning: flash: there is no program /no/flash, or it cannot be looked at.\n"
        )

    def test_what_is_refused(self, run: Run) -> None:
        assert run.status("policy", "explain", "--as", "alice", "flash", "9") == 4
        assert text_of(run).startswith(
            "refused: flash: port: expected a whole number from 0 to 7, not '9'\nwarning:"
        )

    def test_for_ourselves(self, run: Run) -> None:
        assert run.status("policy", "explain", "--", "ls", "-l", "a b") == 0
        assert "runs ls -l 'a b'\nwarning: any and shell are everything" in text_of(run)

    def test_how_it_would_be_run(self, run: Run) -> None:
        assert run.status("policy", "explain", "--env", "PATH=/x", "ls") == 4
        assert "the variable PATH" in text_of(run)
        assert run.status("policy", "explain", "--user", "guest", "ls") == 4
        assert run.status("policy", "explain", "--cwd", "/", "ls") == 0
        assert run.status("policy", "explain", "--as", "alice", "--pty", "flash", "1") == 0

    def test_a_text_for_the_shell(self, run: Run) -> None:
        assert run.status("policy", "explain", "--shell", "ls; pwd") == 0
        assert "runs /bin/sh -c -- 'ls; pwd'\n" in text_of(run)
        assert run.status("policy", "explain", "--shell") == 0
        assert run.status("policy", "explain", "--as", "alice", "--shell", "ls") == 4

    def test_for_programs(self, run: Run) -> None:
        assert run.status("--json", "policy", "explain", "--as", "alice", "flash", "3") == 0
        (line,) = text_of(run).splitlines()
        values = json.loads(line)
        assert values.pop("warnings")
        assert values == {
            "allowed": True,
            "rule": "flash",
            "why": "alice may run the command flash, which takes these values",
            "argv": ["/no/flash", "--port=3", "new"],
        }

    def test_nothing_commands_the_terminal(self, run: Run) -> None:
        assert run.status("policy", "explain", "--", "ls", "\x1b[2J\n") == 0
        assert "\x1b" not in text_of(run)
        assert "\\x1b[2J\\n" in text_of(run)

    def test_who_may_not_ask(self, run: Run) -> None:
        with pytest.raises(PermissionDenied):
            run.status("policy", "explain", "--as", "bob", "ls")

    def test_without_a_command(self, run: Run) -> None:
        with pytest.raises(click.UsageError, match="there is no COMMAND"):
            run.status("policy", "explain", "--as", "alice")


class TestCommands:
    def test_the_list(self, run: Run) -> None:
        assert run.status("policy", "commands") == 0
        assert text_of(run) == (
            "COMMAND                WHAT IT DOES\n"
            "PROGRAM [ARGUMENT]...  Any program\n"
            "--shell TEXT           Any program, and any text in a shell\n"
            "flash PORT [LABEL]     Write an image to a board\n"
            "uptime\n"
        )

    def test_there_are_none(self, run: Run) -> None:
        nobody = Identity("nobody", frozenset({"exec"}))
        run.connect = lambda: run.memory.start_connecting(nobody)
        assert run.status("policy", "commands") == 0
        assert (text_of(run), run.errors.content) == ("", b"")
        run.terminal.streams = {2}
        run.status("policy", "commands")
        assert run.errors.content == b"There are none that we may run.\n"

    def test_one_in_detail(self, run: Run) -> None:
        assert run.status("policy", "commands", "flash", "uptime") == 0
        assert text_of(run) == (
            "flash PORT [LABEL]\n"
            "  Write an image to a board\n"
            "  PORT: The socket it is in: a whole number from 0 to 7\n"
            "  LABEL: new or old [default: new]\n"
            "uptime\n"
        )

    def test_for_programs(self, run: Run) -> None:
        assert run.status("policy", "commands", "--json") == 0
        rules = [json.loads(line)["rule"] for line in text_of(run).splitlines()]
        assert rules == ["any", "shell", "flash", "uptime"]

    def test_one_that_is_not_there(self, run: Run) -> None:
        with pytest.raises(click.UsageError, match="there is no 'flsh' that we may run"):
            run.status("policy", "commands", "flsh")
