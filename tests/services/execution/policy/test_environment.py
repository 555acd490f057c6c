"""Which variables a job has, and which may come from outside."""

from __future__ import annotations

import pytest

from sockserv.services.execution.policy import ExecutionPolicy
from sockserv.services.execution.policy.environment import RISKY, Names
from tests.services.execution.policy.kit import Asked, FakeAccounts, alice


def test_nothing_of_the_daemon_but_its_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    policy = ExecutionPolicy(accounts=FakeAccounts(), time_zone="Europe/Rome")
    environment = Asked(alice("any"), policy).decide("env").program.environment
    assert set(environment) == {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "SOCKSERV_IDENTITY")
    }
    assert environment["TZ"] == "Europe/Rome"


@pytest.mark.parametrize("rule", ["any", "shell"])
def test_who_may_run_everything_may_set_what_does_no_harm(rule: str) -> None:
    env = {"LANG": "de_DE.UTF-8", "EDITOR": "vim", "x": "", "_": "\n", "TZ": "UTC", "TERM": "dumb"}
    environment = Asked(alice(rule)).decide("env", env=env).program.environment
    assert {name: environment[name] for name in env} == env


@pytest.mark.parametrize(
    "name",
    [
        *("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_X", "DYLD_INSERT_LIBRARIES", "GLIBC_TUNABLES"),
        *("PYTHONPATH", "PYTHONSTARTUP", "PERL5LIB", "PERL5OPT", "RUBYOPT", "NODE_OPTIONS"),
        *("BASH_ENV", "ENV", "IFS", "PATH", "SHELLOPTS", "BASHOPTS", "PS4", "PROMPT_COMMAND"),
        *("GIT_SSH_COMMAND", "GIT_DIR", "HOME", "USER", "LOGNAME", "SHELL", "ZDOTDIR"),
        *("JAVA_TOOL_OPTIONS", "GCONV_PATH", "LOCPATH", "TERMINFO", "HOSTALIASES"),
    ],
)
def test_what_changes_what_a_program_does_never_comes_from_outside(name: str) -> None:
    for rule in ("any", "shell"):
        refused, why = Asked(alice(rule)).refusal("env", env={"A": "b", name: "the secret value"})
        assert refused == rule
        assert f"the variable {name} " in why
        assert "[environment] allow" in why
        assert "secret" not in why


@pytest.mark.parametrize("rule", ["any", "shell", "/bin/env"])
@pytest.mark.parametrize("name", ["SOCKSERV_JOB", "SOCKSERV_IDENTITY", "SOCKSERV_"])
def test_what_a_job_is_told_about_itself_comes_from_nobody_else(rule: str, name: str) -> None:
    refused, why = Asked(alice(rule)).refusal("/bin/env", env={name: "x"})
    assert refused == rule
    assert "the server's own" in why


@pytest.mark.parametrize("name", ["LANG", "A", "PATH", "TERM"])
def test_a_program_by_its_path_has_nothing_from_outside(name: str) -> None:
    rule, why = Asked(alice("/bin/env")).refusal("/bin/env", env={name: "x"})
    assert rule == "/bin/env"
    assert f"the variable {name} is none of those that may come from outside" in why


@pytest.mark.parametrize("name", ["path", "Path", "LD", "_LD_PRELOAD", "MYPATH", "PATHX", "ENVY"])
def test_what_only_looks_like_one_of_them_does_no_harm(name: str) -> None:
    assert name not in RISKY
    assert Asked(alice("any")).decide("env", env={name: "x"}).program.environment[name] == "x"


def test_names() -> None:
    names = Names.of(["LC_*", "LANG"])
    assert "LC_ALL" in names
    assert "LC_" in names
    assert "LANG" in names
    assert "LC_*" in names
    assert "LANGUAGE" not in names
    assert "LC" not in names
    assert "" not in Names()
