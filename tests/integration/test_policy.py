"""Who may run what, as it is typed: a real daemon, whose files are edited while it runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import ANY_PORT, Twistd, until
from tests.integration.test_people import Account

COMMANDS = """
[commands.show]
argv = ["/bin/cat", "--", "{file}"]
parameters.file = { type = "path" }

[commands.say]
argv = ["/bin/echo", "-n", "{word}", "{{word}}"]
parameters.word = { type = "pattern", pattern = '[ -~]+' }

[commands.where]
argv = ["/usr/bin/env", "sh", "-c", "pwd; cat; echo $COLOUR:$LANG:$LD_PRELOAD; ulimit -t"]
cwd = "/"
env = { COLOUR = "no" }
env_allowed = ["COLOUR"]
limits = { cpu_seconds = 7 }

[commands.slow]
argv = ["/bin/sleep", "600"]
timeout_seconds = 0.1
"""


@pytest.fixture
def owner(twistd: Callable[..., Twistd], tmp_path: Path, state: Path) -> Account:
    """The owner of a daemon with commands, which alice may run."""
    state.mkdir(mode=0o700)
    write(state, COMMANDS)
    twistd("--listen", ANY_PORT, "--state", str(state)).wait_until_listening(state)
    return Account(tmp_path / "owner's config", state)


@pytest.fixture
def alice(owner: Account, tmp_path: Path) -> Account:
    """Somebody who may run them, and one program, and is logged in."""
    rules = [f"--exec={rule}" for rule in ("show", "say", "where", "slow", "/bin/echo")]
    invited = owner.run("invite", "alice", "--files", "rw:alice", *rules)
    account = Account(tmp_path / "alice's config", tmp_path / "no state")
    account.run("login", "--name", "lab", input=invited.stdout)
    return account


def write(state: Path, text: str) -> None:
    file = state / "commands.toml"
    file.write_text(text)
    file.chmod(0o600)


def run(account: Account, *arguments: str, input: str = "") -> tuple[int, str, str]:
    """The exit status of `sockserv exec`, and what it writes."""
    result = account.run("exec", "--server", "lab", *arguments, input=input)
    return result.returncode, result.stdout, result.stderr


def test_what_a_command_does_with_its_values(alice: Account, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("what is in it\n")
    alice.run("--server", "lab", "put", str(tmp_path / "file"), "--to=-n")
    assert run(alice, "show", "-n") == (0, "what is in it\n", "")
    hostile = "$(id) `id` ; & | > < * ? ~ ' \" \\ {word} %s"
    assert run(alice, "say", hostile) == (0, f"{hostile} {{word}}", "")
    status, output, errors = run(alice, "--env", "COLOUR=yes", "where", input="not for it")
    assert (status, output, errors) == (0, "/\nyes:C.UTF-8:\n7\n", "")
    kept = run(alice, "--keep", "--env", "COLOUR=yes", "where", input="not for it")
    assert kept == (status, output, errors)
    assert run(alice, "slow")[0] == 124


REFUSED = [
    (["show", "../file"], "(show): file: expected a path in your folder"),
    (["say", "-e"], "(say): word: a value that begins with - is refused"),
    (["--pty", "say", "a"], "(say): runs without a terminal"),
    (["--env", "PATH=/tmp", "where"], "(where): the variable PATH"),
    (["--env", "LANG=C", "/bin/echo"], "(/bin/echo): the variable LANG"),
    (["/bin/../bin/echo"], "no rule of alice allows '/bin/../bin/echo'"),
    (["--shell", "id"], "alice may run nothing in a shell"),
]


def test_what_is_refused(alice: Account) -> None:
    for arguments, why in REFUSED:
        status, output, errors = run(alice, *arguments)
        assert (status, output) == (126, "")
        assert why in errors


def test_the_file_is_edited_while_the_daemon_runs(
    alice: Account, owner: Account, state: Path
) -> None:
    assert run(alice, "say", "a")[0] == 0
    write(state, COMMANDS.replace("[commands.say]", "[commands.tell]"))
    until(lambda: run(alice, "say", "a")[0] == 126)
    explained = owner.run("--json", "policy", "explain", "--as", "alice", "--", "say", "a")
    assert explained.returncode == 4
    assert "no command of this name" in json.loads(explained.stdout)["why"]
    # One with a mistake changes nothing.
    write(state, COMMANDS + "[commands.more]\n")
    assert owner.run("exec", "--", "sleep", "2").returncode == 0
    assert run(alice, "say", "a")[0] == 126
    write(state, COMMANDS)
    until(lambda: run(alice, "say", "a")[0] == 0)


def test_refusals_stand_in_the_audit_log(alice: Account, owner: Account) -> None:
    run(alice, "say", "-e")
    run(alice, "say", "e")
    lines = owner.succeed("audit", "show", "--identity", "alice", "--op", "exec.run", "--json")
    records = [json.loads(line) for line in lines.splitlines()]
    ends = [record for record in records if record["event"] == "end"]
    assert [(end["outcome"], end["rule"]) for end in ends] == [
        ("exec.refused", "say"),
        ("ok", "say"),
    ]
