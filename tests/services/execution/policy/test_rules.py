"""Which rule fits, and what is run then."""

from __future__ import annotations

import msgspec
import pytest

from sockserv.execution.arguments import ResourceLimits, Terminal
from sockserv.services.execution.child import Program
from sockserv.services.execution.policy import ExecutionPolicy
from tests.services.execution.policy.kit import GUEST, OWNER, Asked, FakeAccounts, alice

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/home/lab",
    "USER": "lab",
    "LOGNAME": "lab",
    "SHELL": "/bin/zsh",
    "LANG": "C.UTF-8",
    "SOCKSERV_IDENTITY": "alice",
}


def test_any_runs_every_program_as_it_was_asked_for() -> None:
    decision = Asked(alice("any")).decide("ls", "-l", "a b\n", "", "{x}")
    assert decision.rule == "any"
    assert decision.program == Program(
        argv=("ls", "-l", "a b\n", "", "{x}"), environment=ENVIRONMENT, directory="/home/lab"
    )
    assert decision.command == "ls -l 'a b\\n' '' '{x}'"
    assert (decision.timeout_seconds, decision.output_limit_bytes) == (None, None)
    assert decision.takes_stdin


@pytest.mark.parametrize("word", ["ls", "./ls", "bin/ls", "/bin/ls", "-x", " "])
def test_any_looks_at_no_name(word: str) -> None:
    assert Asked(alice("any")).decide(word).program.argv == (word,)


def test_the_owner_may_do_everything() -> None:
    asked = Asked(OWNER)
    assert asked.decide("ls").rule == "any"
    assert asked.decide("ls", shell=True).rule == "shell"


def test_who_may_do_everything_and_has_rules_has_those() -> None:
    asked = Asked(type(OWNER)("root", OWNER.permissions, exec=("/bin/ls",)))
    assert asked.decide("/bin/ls").rule == "/bin/ls"
    assert asked.refusal("ls", shell=True)[0] == "none"


# Programs


def test_a_program_by_its_path_with_any_arguments() -> None:
    decision = Asked(alice("/usr/bin/df")).decide("/usr/bin/df", "-h", "--", "/")
    assert decision.rule == "/usr/bin/df"
    assert decision.program.argv == ("/usr/bin/df", "-h", "--", "/")


@pytest.mark.parametrize(
    "word",
    [
        "/usr/bin/dfx",
        "/usr/bin/d",
        "/usr/bin/",
        "/usr/bin",
        "/usr/bin/./df",
        "/usr//bin/df",
        "//usr/bin/df",
        "/usr/lib/../bin/df",
        "/usr/bin/df/",
        "./usr/bin/df",
        " /usr/bin/df",
        "/usr/bin/df ",
        "/usr/bin/df\n",
        "/USR/bin/df",
        "/usr/bin/d\u2146",
        "/usr/bin/\u200bdf",
        "/usr/bin/df -h",
        "*",
        "any",
        "shell",
        "none",
    ],
)
def test_nothing_but_exactly_this_path(word: str) -> None:
    rule, why = Asked(alice("/usr/bin/df")).refusal(word)
    assert rule == "none"
    assert "what may be run is /usr/bin/df" in why


@pytest.mark.parametrize("word", ["df", "bin/df", "usr/bin/df"])
def test_a_name_is_not_looked_for(word: str) -> None:
    rule, why = Asked(alice("/usr/bin/df")).refusal(word, "-h")
    assert rule == "none"
    assert why == f"{word} is not looked for: write /usr/bin/df, as the rule of alice does"


def test_the_path_comes_before_any() -> None:
    asked = Asked(alice("any", "/usr/bin/df"))
    assert asked.decide("/usr/bin/df").rule == "/usr/bin/df"
    assert asked.decide("df").rule == "any"


# The shell


def test_a_text_for_the_shell() -> None:
    decision = Asked(alice("shell")).decide("ls -l ; abcd ; pwd", shell=True)
    assert decision.rule == "shell"
    assert decision.program.argv == ("/bin/sh", "-c", "--", "ls -l ; abcd ; pwd")
    assert decision.command == "/bin/sh -c -- 'ls -l ; abcd ; pwd'"


def test_a_shell_without_a_text() -> None:
    asked = Asked(alice("shell"))
    assert asked.decide(shell=True).program.argv == ("/bin/sh", "-s")
    on_terminal = asked.decide(shell=True, terminal=Terminal(type="vt100"))
    assert on_terminal.program.argv == ("/bin/zsh", "-l")
    assert on_terminal.program.environment["TERM"] == "vt100"
    assert on_terminal.program.terminal == Terminal(type="vt100")


def test_the_shell_is_that_of_the_account() -> None:
    policy = ExecutionPolicy(accounts=FakeAccounts(can_change=True))
    decision = Asked(alice("shell"), policy).decide(shell=True, terminal=Terminal(), user="guest")
    assert decision.program.argv == ("/bin/bash", "-l")


def test_shell_is_any_too() -> None:
    assert Asked(alice("shell")).decide("ls").rule == "shell"
    assert Asked(alice("any", "shell")).decide("ls").rule == "any"


@pytest.mark.parametrize("rules", [("any",), ("/bin/sh",), ("uptime",), ("any", "/bin/sh")])
def test_nothing_else_is_a_shell(rules: tuple[str, ...]) -> None:
    rule, why = Asked(alice(*rules)).refusal("ls", shell=True)
    assert rule == "none"
    assert why.startswith("alice may run nothing in a shell; what may be run is ")


def test_a_program_called_like_a_rule_is_one_for_any() -> None:
    assert Asked(alice("any")).decide("shell").program.argv == ("shell",)


# Nobody else


def test_nothing_for_who_was_given_nothing() -> None:
    rule, why = Asked(alice()).refusal("ls")
    assert (rule, why) == ("none", "alice has no rule by which anything could be run")


def test_the_words_of_a_refusal_are_bounded() -> None:
    rules = tuple(f"command{number}" for number in range(100))
    _, why = Asked(alice(*rules)).refusal("x" * 60_000)
    assert len(why) < 1000
    assert why.endswith("command19, ...")


# How it is run


def test_what_was_asked_for_is_passed_on() -> None:
    limits = ResourceLimits(cpu_seconds=1, memory_bytes=2, processes=3, open_files=4, file_bytes=5)
    decision = Asked(alice("/bin/df")).decide(
        "/bin/df", limits=limits, nice=5, timeout_seconds=1.5, output_limit_bytes=7
    )
    assert decision.program.limits == limits
    assert decision.program.nice == 5
    assert (decision.timeout_seconds, decision.output_limit_bytes) == (1.5, 7)


def test_a_better_priority_is_for_who_may_run_everything() -> None:
    assert Asked(alice("any")).decide("df", nice=-5).program.nice == -5
    rule, why = Asked(alice("/bin/df")).refusal("/bin/df", nice=-1)
    assert rule == "/bin/df"
    assert why == "/bin/df: a nice of -1 is more than the rule gives; leave it out"


@pytest.mark.parametrize(
    ("cwd", "directory"),
    [(None, "/home/lab"), ("/srv", "/srv"), ("a/b", "/home/lab/a/b"), ("..", "/home/lab/..")],
)
def test_the_directory(cwd: str | None, directory: str) -> None:
    for rules in (("any",), ("/bin/df",)):
        decision = Asked(alice(*rules)).decide("/bin/df", cwd=cwd)
        assert decision.program.directory == directory


# The account


def test_another_account_where_the_daemon_may() -> None:
    accounts = FakeAccounts(can_change=True)
    policy = ExecutionPolicy(accounts=accounts)
    program = Asked(alice("any"), policy).decide("id", user="guest").program
    assert program.account == GUEST.account
    assert program.directory == "/home/guest"
    assert program.environment == {
        **ENVIRONMENT,
        "HOME": "/home/guest",
        "USER": "guest",
        "LOGNAME": "guest",
        "SHELL": "/bin/bash",
    }
    assert accounts.looked == ["guest"]


def test_the_own_account_is_no_other_one() -> None:
    accounts = FakeAccounts()
    decision = Asked(alice("any"), ExecutionPolicy(accounts=accounts)).decide("id", user="lab")
    assert decision.program.account is None
    assert accounts.looked == []


def test_no_other_account_where_the_daemon_is_not_root() -> None:
    rule, why = Asked(alice("any")).refusal("id", user="guest")
    assert rule == "any"
    assert why == "any: this server runs as lab, and can run nothing as 'guest'"


def test_no_account_that_is_not_there() -> None:
    policy = ExecutionPolicy(accounts=FakeAccounts(can_change=True))
    rule, why = Asked(alice("any"), policy).refusal("id", user="nemo")
    assert (rule, why) == ("any", "any: there is no account 'nemo' on this machine")


@pytest.mark.parametrize("user", ["guest", "root", "lab"])
def test_no_account_is_chosen_for_a_program_by_its_path(user: str) -> None:
    policy = ExecutionPolicy(accounts=FakeAccounts(can_change=True))
    rule, why = Asked(alice("/bin/id"), policy).refusal("/bin/id", user=user)
    assert rule == "/bin/id"
    assert "leave the user out" in why


def test_explaining_what_is_allowed() -> None:
    explanation = Asked(alice("shell")).explain("ls -l", shell=True)
    assert explanation.allowed
    assert explanation.rule == "shell"
    assert explanation.argv == ("/bin/sh", "-c", "--", "ls -l")


@pytest.mark.parametrize(
    "words", [("\x01" * 60_000,), ("x" * 60_000, "y"), ("\x01",) * 4000, ("x" * 15,) * 4000]
)
def test_an_explanation_fits_into_an_answer(words: tuple[str, ...]) -> None:
    """The words that were asked about came in one header; those of the answer have to share one."""
    asked = Asked(alice("any", *(f"/no/{number}{'x' * 5000}" for number in range(30))))
    assert len(msgspec.json.encode(asked.explain(*words))) < 48 * 1024
    assert len(msgspec.json.encode(asked.explain(*words[:1], shell=True))) < 48 * 1024
    argv = Asked(alice("any")).explain("ls", *["x"] * 4000).argv
    assert argv == ("ls", *["x"] * 4000)
