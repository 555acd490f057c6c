"""Named commands: what is run for which values, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockserv.execution.arguments import ResourceLimits, Terminal
from sockserv.execution.errors import Refused
from sockserv.execution.usage import CommandUsage, ParameterUsage
from sockserv.services.execution.policy import ExecutionPolicy
from sockserv.services.execution.policy.configuration import parse_configuration
from tests.services.execution.policy.kit import GUEST, OWNER, Asked, FakeAccounts, alice

COMMANDS = """
[environment]
allow = ["GIT_*", "PATH"]
set = { http_proxy = "http://proxy", LANG = "de_DE.UTF-8" }

[commands.uptime]
argv = ["/usr/bin/uptime", "-p"]

[commands.flash]
argv = ["/usr/bin/flash", "--port={port}", "{name}", "--speed", "{speed}"]
parameters.port = { type = "integer", min = -2, max = 70 }
parameters.name = { type = "pattern", pattern = '.*' , max_length = 10 }
parameters.speed = { type = "choice", choices = ["fast", "-1"], default = "fast" }

[commands.free]
argv = ["/usr/bin/free", "{word}"]
parameters.word = { type = "pattern", pattern = '[^x]*', options = true }

[commands.joined]
argv = ["/usr/bin/joined", "{a}{b}", "{a}-{b}"]
parameters.a = { type = "pattern", pattern = '.*' }
parameters.b = { type = "pattern", pattern = '.*' }

[commands.many]
argv = ["/usr/bin/many", "{files}", "to", "{files}"]
parameters.files = { type = "pattern", pattern = '\\w+', max_count = 3 }

[commands.some]
argv = ["/usr/bin/some", "{files}"]
parameters.files = { type = "pattern", pattern = '\\w+', max_count = 3, min_count = 0 }

[commands.held]
argv = ["/usr/bin/held"]
cwd = "/srv"
user = "guest"
env = { COLOUR = "no", http_proxy = "" }
env_allowed = ["LC_*", "COLOUR"]
timeout_seconds = 10
output_limit_bytes = 100
limits = { cpu_seconds = 5, memory_bytes = 1000 }
nice = 3

[commands.open]
argv = ["/usr/bin/open"]
stdin = true
terminal = true
"""
CONFIGURATION = parse_configuration(COMMANDS, file="commands.toml")
NAMES = ("uptime", "flash", "free", "joined", "many", "some", "held", "open")


def asked(*rules: str, can_change: bool = False, **more: Any) -> Asked:
    policy = ExecutionPolicy(
        configuration=lambda: CONFIGURATION, accounts=FakeAccounts(can_change=can_change), **more
    )
    return Asked(alice(*(rules or NAMES)), policy)


@pytest.mark.parametrize(
    ("argv", "run"),
    [
        (("uptime",), ("/usr/bin/uptime", "-p")),
        (("flash", "7", "x"), ("/usr/bin/flash", "--port=7", "x", "--speed", "fast")),
        (("flash", "-2", "", "-1"), ("/usr/bin/flash", "--port=-2", "", "--speed", "-1")),
        (("flash", "0", "{port}"), ("/usr/bin/flash", "--port=0", "{port}", "--speed", "fast")),
        (
            ("flash", "0", "a=b;$(id)"),
            ("/usr/bin/flash", "--port=0", "a=b;$(id)", "--speed", "fast"),
        ),
        (("free", "--help"), ("/usr/bin/free", "--help")),
        (("free", "大 '\"*"), ("/usr/bin/free", "大 '\"*")),
        (("many", "a"), ("/usr/bin/many", "a", "to", "a")),
        (("many", "a", "b", "c"), ("/usr/bin/many", "a", "b", "c", "to", "a", "b", "c")),
        (("some",), ("/usr/bin/some",)),
        (("some", "a"), ("/usr/bin/some", "a")),
        (("joined", "x", "y"), ("/usr/bin/joined", "xy", "x-y")),
    ],
)
def test_what_is_run(argv: tuple[str, ...], run: tuple[str, ...]) -> None:
    decision = asked().decide(*argv)
    assert decision.rule == argv[0]
    assert decision.program.argv == run


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (("uptime", "x"), "uptime: 1 value was given; it is used so: uptime"),
        (("flash",), "flash: 0 values were given; it is used so: flash PORT NAME [SPEED]"),
        (("flash", "1"), "flash: 1 value was given; it is used so: flash PORT NAME [SPEED]"),
        (("flash", "1", "a", "fast", "x"), "flash: 4 values were given; it is used so: flash"),
        (("flash", "71", "a"), "flash: port: expected a whole number from -2 to 70, not '71'"),
        (("flash", "-3", "a"), "flash: port: expected a whole number"),
        (("flash", "07", "a"), "flash: port: expected a whole number"),
        (("flash", "+7", "a"), "flash: port: expected a whole number"),
        (("flash", "-0", "a"), "flash: port: expected a whole number"),
        (("flash", "7 ", "a"), "flash: port: expected a whole number"),
        (("flash", "7\n", "a"), "flash: port: expected a whole number"),
        (("flash", "7.0", "a"), "flash: port: expected a whole number"),
        (("flash", "1_0", "a"), "flash: port: expected a whole number"),
        (("flash", "0x1", "a"), "flash: port: expected a whole number"),
        (("flash", "\u0667", "a"), "flash: port: expected a whole number"),
        (("flash", "", "a"), "flash: port: expected a whole number"),
        (("flash", "9" * 60_000, "a"), "flash: port: expected a whole number"),
        (("flash", "1", "-x"), "flash: name: a value that begins with - is refused: '-x'"),
        (("flash", "1", "-"), "flash: name: a value that begins with - is refused"),
        (("flash", "1", "--"), "flash: name: a value that begins with - is refused"),
        (("flash", "1", "x" * 11), "flash: name: expected at most 10 characters, not 11"),
        (("flash", "1", "a\nb"), "flash: name: expected one line without control"),
        (("flash", "1", "a\x1b[2J"), "flash: name: expected one line without control"),
        (("flash", "1", "\u202egnp"), "flash: name: expected one line without control"),
        (("flash", "1", "a\u2028"), "flash: name: expected one line without control"),
        (("flash", "1", "a", "slow"), "flash: speed: expected fast or -1, not 'slow'"),
        (("flash", "1", "a", "fast "), "flash: speed: expected fast or -1"),
        (("flash", "1", "a", "FAST"), "flash: speed: expected fast or -1"),
        (("flash", "port=1", "name=a"), "flash: port: expected a whole number"),
        (("free", "a\nb"), "free: word: expected one line"),
        (
            ("free", "--x"),
            "free: word: expected a text of at most 256 characters that fits [^x]*, not '--x'",
        ),
        (("joined", "-a", "b"), "joined: a: a value that begins with - is refused"),
        (("joined", "", "-b"), "joined: b: a value that begins with - is refused"),
        (("joined", "", "b"), "joined: '-b' would be an option; use another value"),
        (("many",), "many: 0 values were given; it is used so: many FILES..."),
        (("many", "a", "b", "c", "d"), "many: files: takes at most 3 values; it is used so: many"),
        (
            ("many", "a", "b!"),
            "many: files: expected a text of at most 256 characters that fits \\w+, not 'b!'",
        ),
        (("some", *["a"] * 4095), "some: files: takes at most 3 values"),
    ],
)
def test_what_is_refused(argv: tuple[str, ...], why: str) -> None:
    rule, said = asked().refusal(*argv)
    assert rule == argv[0]
    assert said.startswith(why)
    assert len(said) < 300
    assert said.isprintable()


@pytest.mark.parametrize(
    "name",
    ["Uptime", "uptime ", " uptime", "uptime\n", "upt\u0456me", "./uptime", "/uptime", "uptim"],
)
def test_only_its_very_name_is_a_command(name: str) -> None:
    assert asked().refusal(name)[0] == "none"


def test_a_command_is_for_whom_it_was_given_to() -> None:
    rule, why = asked("flash").refusal("uptime")
    assert rule == "none"
    assert why == "no rule of alice allows 'uptime'; what may be run is flash"


def test_the_program_of_a_command_is_not_allowed_by_its_path() -> None:
    assert asked("uptime").refusal("/usr/bin/uptime")[0] == "none"


def test_a_command_that_is_not_there() -> None:
    rule, why = asked("gone").refusal("gone", "x")
    assert rule == "none"
    assert why.startswith("alice may run gone, but this server has no command of this name: it")
    assert asked("gone", "any").decide("gone", "x").rule == "any"


def test_a_command_comes_before_any() -> None:
    either = asked("any", "uptime")
    assert either.decide("uptime").program.argv == ("/usr/bin/uptime", "-p")
    assert either.refusal("uptime", "-s")[0] == "uptime"
    assert asked("any").decide("uptime", "-s").rule == "any"


def test_a_text_for_the_shell_is_no_command() -> None:
    assert asked("uptime").refusal("uptime", shell=True)[0] == "none"
    assert asked("uptime", "shell").decide("uptime", shell=True).rule == "shell"


# The owner


def test_the_owner_has_every_command() -> None:
    policy = asked().policy
    owner = Asked(OWNER, policy)
    assert owner.decide("flash", "1", "a").rule == "flash"
    assert owner.decide("ls").rule == "any"
    assert owner.refusal("flash", "-l")[0] == "flash"


@pytest.mark.parametrize(
    ("rules", "allowed", "refused"),
    [
        ('["any"]', [("ls",)], []),
        ('["uptime"]', [("uptime",)], [("ls",), ("flash", "1", "a")]),
        ("[]", [], [("ls",), ("uptime",)]),
    ],
)
def test_the_owner_may_have_less(
    rules: str, allowed: list[tuple[str, ...]], refused: list[tuple[str, ...]]
) -> None:
    configuration = parse_configuration(f"[owner]\nexec = {rules}\n{COMMANDS}", file="x")
    policy = ExecutionPolicy(configuration=lambda: configuration, accounts=FakeAccounts())
    owner = Asked(OWNER, policy)
    for argv in allowed:
        owner.decide(*argv)
    for argv in refused:
        assert owner.refusal(*argv)[0] == "none"
    assert owner.refusal("ls", shell=True)[0] == "none"


# How it is run


def test_what_the_rule_says_is_what_holds() -> None:
    decision = asked(can_change=True).decide("held")
    program = decision.program
    assert program.directory == "/srv"
    assert program.account == GUEST.account
    assert program.environment["HOME"] == "/home/guest"
    assert program.environment["COLOUR"] == "no"
    assert program.environment["http_proxy"] == ""
    assert program.environment["LANG"] == "de_DE.UTF-8"
    assert program.limits == ResourceLimits(cpu_seconds=5, memory_bytes=1000)
    assert program.nice == 3
    assert (decision.timeout_seconds, decision.output_limit_bytes) == (10, 100)
    assert not decision.takes_stdin


def test_less_may_be_asked_for() -> None:
    decision = asked(can_change=True).decide(
        "held",
        timeout_seconds=5,
        output_limit_bytes=7,
        nice=4,
        user="guest",
    )
    assert (decision.timeout_seconds, decision.output_limit_bytes) == (5, 7)
    assert decision.program.limits == ResourceLimits(cpu_seconds=5, memory_bytes=1000)
    assert decision.program.nice == 4


def test_more_is_cut_down() -> None:
    decision = asked(can_change=True).decide("held", timeout_seconds=11, output_limit_bytes=101)
    assert (decision.timeout_seconds, decision.output_limit_bytes) == (10, 100)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"cwd": "/"}, "held: the directory is the rule's: leave it out"),
        ({"cwd": "/srv"}, "held: the directory is the rule's"),
        ({"user": "lab"}, "held: as which account it runs, is the rule's to say"),
        ({"user": "root"}, "held: as which account it runs, is the rule's to say"),
        (
            {"limits": ResourceLimits(file_bytes=0)},
            "held: the limits of its processes are the rule's",
        ),
        ({"nice": 2}, "held: a nice of 2 is more than the rule gives"),
        ({"terminal": Terminal()}, "held: runs without a terminal: ask for none"),
        ({"env": {"PATH": "."}}, "held: the variable PATH is none of those"),
        ({"env": {"GIT_DIR": "."}}, "held: the variable GIT_DIR is none of those"),
        ({"env": {"LD_PRELOAD": "x"}}, "held: the variable LD_PRELOAD is none of those"),
        ({"env": {"SOCKSERV_JOB": "x"}}, "held: the variable SOCKSERV_JOB is the server's own"),
    ],
)
def test_what_is_not_the_callers_to_say(more: dict[str, Any], why: str) -> None:
    rule, said = asked(can_change=True).refusal("held", **more)
    assert rule == "held"
    assert said.startswith(why)


def test_variables_of_a_command_come_from_outside_where_they_are_named() -> None:
    env = {"LC_ALL": "C", "COLOUR": "yes"}
    environment = asked(can_change=True).decide("held", env=env).program.environment
    assert environment["LC_ALL"] == "C"
    assert environment["COLOUR"] == "yes"


def test_a_command_for_another_account_needs_a_daemon_that_may() -> None:
    rule, why = asked().refusal("held")
    assert (rule, why) == ("held", "held: this server runs as lab, and can run nothing as 'guest'")


def test_standard_input_and_a_terminal_where_they_are_given() -> None:
    assert asked().decide("open").takes_stdin
    assert asked().decide("open", terminal=Terminal()).program.terminal == Terminal()
    assert not asked().decide("uptime").takes_stdin


# What the owner says about variables


def test_variables_that_are_allowed_for_all() -> None:
    env = {"PATH": "/opt/bin", "GIT_DIR": "x"}
    for rule in ("any", "shell", "/bin/env"):
        environment = asked(rule).decide("/bin/env", env=env).program.environment
        assert environment["PATH"] == "/opt/bin"
        assert environment["http_proxy"] == "http://proxy"
    assert asked("any").refusal("env", env={"LD_PRELOAD": "x"})[0] == "any"


@given(st.lists(st.text(), max_size=5))
def test_any_values_are_taken_as_they_are_or_refused(values: list[str]) -> None:
    question = asked()
    for name in ("flash", "free", "joined", "many", "some"):
        try:
            argv = question.decide(name, *[v.replace("\0", "") for v in values]).program.argv
        except Refused:
            continue
        if name in ("many", "some"):
            assert argv[1 : 1 + len(values)] == tuple(values)
        if name != "free":
            # What was not written as an option is none.
            assert sum(word.startswith("-") for word in argv) == (2 if name == "flash" else 0)


# What somebody may run


def test_what_somebody_may_run() -> None:
    question = asked("flash", "/bin/df", "any", "shell", "gone", "many")
    flash, program, everything, shell, many = question.policy.usages(question.identity)
    assert flash == CommandUsage(
        rule="flash",
        usage="flash PORT NAME [SPEED]",
        parameters=(
            ParameterUsage(name="port", takes="a whole number from -2 to 70"),
            ParameterUsage(name="name", takes="a text of at most 10 characters that fits .*"),
            ParameterUsage(name="speed", takes="fast or -1", default="fast"),
        ),
    )
    assert (program.rule, program.usage) == ("/bin/df", "/bin/df [ARGUMENT]...")
    assert (everything.usage, shell.usage) == ("PROGRAM [ARGUMENT]...", "--shell TEXT")
    assert (
        many.parameters[0].takes == "a text of at most 256 characters that fits \\w+, 1 to 3 times"
    )


def test_the_owner_may_run_all_of_it() -> None:
    usages = asked().policy.usages(OWNER)
    assert [usage.rule for usage in usages] == ["any", "shell", *NAMES]
