"""Whatever is asked for, by whomever: what is decided keeps to the rules."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sockserv.errors import InvalidArgument
from sockserv.execution.arguments import Command, ResourceLimits, Terminal
from sockserv.execution.errors import Refused
from sockserv.services.execution.deciding import Decision
from sockserv.services.execution.policy import ExecutionPolicy
from sockserv.services.execution.policy.configuration import parse_configuration
from sockserv.services.execution.policy.environment import OURS, RISKY
from tests.services.execution.policy.kit import (
    GUEST,
    OWN,
    FakeAccounts,
    alice,
    in_thread,
    result_of,
)

COMMANDS = """
[commands.fixed]
argv = ["/bin/fixed", "-x"]
user = "guest"
cwd = "/srv"
timeout_seconds = 10

[commands.one]
argv = ["/bin/one", "--to={a}", "{a}"]
parameters.a = { type = "pattern", pattern = '.*' }
env_allowed = ["A*"]
"""
CONFIGURATION = parse_configuration(COMMANDS, file="commands.toml")

RULES = st.sets(st.sampled_from(["any", "shell", "/bin/df", "/bin/sh", "fixed", "one", "gone"]))
WORDS = st.one_of(
    st.sampled_from(
        ["any", "shell", "df", "/bin/df", "/bin/sh", "fixed", "one", "gone", "-c", "", "\0"]
    ),
    st.text(st.characters(), max_size=5),
)
NAMES = st.sampled_from(
    ["A", "AB", "PATH", "LD_PRELOAD", "SOCKSERV_JOB", "LANG", "TZ", "B=C", "", "PYTHONPATH", "é"]
)
NUMBERS = st.none() | st.integers(1, 100)


@st.composite
def commands(draw: st.DrawFn) -> Command:
    return Command(
        argv=tuple(draw(st.lists(WORDS, max_size=4))),
        shell=draw(st.booleans()),
        env=draw(st.dictionaries(NAMES, st.text(max_size=3), max_size=3)),
        cwd=draw(st.none() | st.text(max_size=4)),
        user=draw(st.none() | st.sampled_from(["lab", "guest", "nobody", "\0", "root"])),
        timeout_seconds=draw(st.none() | st.floats(0.1, 100)),
        limits=ResourceLimits(cpu_seconds=draw(NUMBERS)),
        nice=draw(st.none() | st.integers(-20, 19)),
        terminal=draw(st.none() | st.just(Terminal())),
    )


@given(st.booleans(), RULES, commands())
def test_a_decision_keeps_to_its_rule(can_change: bool, rules: set[str], command: Command) -> None:
    policy = ExecutionPolicy(
        configuration=lambda: CONFIGURATION, accounts=FakeAccounts(can_change=can_change)
    )
    who = alice(*sorted(rules))
    try:
        decision = result_of(policy.decide(who, command, in_thread))
    except InvalidArgument:
        return
    except Refused:
        assert not result_of(policy.explain(who, command, in_thread)).allowed
        return
    assert decision.rule in rules
    assert decision.command.isprintable()
    check = {"any": check_free, "shell": check_free, "fixed": check_fixed, "one": check_one}
    check.get(decision.rule, check_program)(decision, command)
    explanation = result_of(policy.explain(who, command, in_thread))
    assert (explanation.allowed, explanation.argv) == (True, decision.program.argv)


def check_environment(decision: Decision, allowed: Any) -> None:
    """Nothing comes from outside but what is allowed, and nothing of ours."""
    for name, value in decision.program.environment.items():
        assert "\0" not in value
        if name in OURS:
            assert (name, value) == ("SOCKSERV_IDENTITY", "alice")
    always = {"PATH", "HOME", "USER", "LOGNAME", "SHELL"}
    for name in decision.program.environment.keys() - always:
        assert name in OURS or name in ("LANG", "TERM") or allowed(name)
    home = {OWN.home, GUEST.home}
    assert decision.program.environment["PATH"].startswith("/usr/local/sbin:")
    assert decision.program.environment["HOME"] in home
    assert decision.program.directory.startswith("/")


def check_free(decision: Decision, command: Command) -> None:
    assert decision.rule == "shell" or not command.shell
    check_environment(decision, lambda name: name not in RISKY)
    if not command.shell:
        assert decision.program.argv == command.argv


def check_program(decision: Decision, command: Command) -> None:
    assert not command.shell
    assert decision.rule == command.argv[0]
    assert decision.program.argv == command.argv
    assert decision.program.account is None
    assert (decision.program.nice or 0) >= 0
    assert not command.env
    check_environment(decision, lambda name: False)


def check_fixed(decision: Decision, command: Command) -> None:
    assert command.argv == ("fixed",)
    assert decision.program.argv == ("/bin/fixed", "-x")
    assert decision.program.account == GUEST.account
    assert decision.program.directory == "/srv"
    assert decision.program.terminal is None
    assert decision.timeout_seconds is not None
    assert decision.timeout_seconds <= 10
    assert not decision.takes_stdin
    check_environment(decision, lambda name: False)


def check_one(decision: Decision, command: Command) -> None:
    name, value = command.argv
    assert name == "one"
    assert decision.program.argv == ("/bin/one", f"--to={value}", value)
    assert not value.startswith("-")
    assert value.isprintable()
    assert decision.program.account is None
    assert command.cwd is None
    check_environment(decision, lambda name: name.startswith("A"))
