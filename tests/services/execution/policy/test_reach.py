"""What is said of rules that reach further than they seem."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from sockserv.services.execution.policy import ExecutionPolicy
from sockserv.services.execution.policy.configuration import parse_configuration
from sockserv.services.execution.policy.reach import (
    READS_FILES,
    RUNS_OTHERS,
    WRITES_FILES,
    known_as,
)
from sockserv.services.files.folders import Folders
from sockserv.trust.identities import FilesAccess, FilesGrant
from tests.services.execution.policy.kit import OWNER, Asked, FakeAccounts, alice


@pytest.fixture
def bin(tmp_path: Path) -> Path:
    """Programs that anybody knows, which do nothing."""
    folder = tmp_path / "bin"
    folder.mkdir(mode=0o755)
    for name in ("harmless", "bash", "python3.11", "cp", "cat", "vim.tiny", "busybox", "git"):
        program = folder / name
        program.write_text("#!/bin/false\n")
        program.chmod(0o755)
    (folder / "hidden").symlink_to("busybox")
    return folder


def asked(
    bin: Path, *rules: str, commands: str = "", access: FilesAccess = FilesAccess.READ_ONLY
) -> Asked:
    configuration = parse_configuration(commands.replace("BIN", str(bin)), file="commands.toml")
    policy = ExecutionPolicy(
        configuration=lambda: configuration,
        folder_of=Folders(bin.parent).of,
        accounts=FakeAccounts(),
    )
    who = attrs.evolve(
        alice(*(rule.replace("BIN", str(bin)) for rule in rules)), files=FilesGrant("", access)
    )
    return Asked(who, policy)


@pytest.mark.parametrize("rules", [("any",), ("shell",), ("any", "shell")])
def test_any_and_shell_are_everything(bin: Path, rules: tuple[str, ...]) -> None:
    (warning,) = asked(bin, *rules).explain("ls").warnings
    assert warning.startswith(" and ".join(rules))
    assert "everything that the account lab may do" in warning


def test_the_owner_is_told_so_too(bin: Path) -> None:
    question = Asked(OWNER, asked(bin).policy)
    assert "any and shell are everything" in question.explain("ls").warnings[0]


@pytest.mark.parametrize("name", ["bash", "python3.11", "vim.tiny", "busybox", "hidden", "git"])
def test_a_program_that_runs_others_is_everything(bin: Path, name: str) -> None:
    (warning,) = asked(bin, f"BIN/{name}").explain(str(bin / name)).warnings
    assert warning.startswith(f"{bin / name} runs what its arguments or its input say")
    assert "everything that the account lab may do" in warning


@pytest.mark.parametrize(
    ("name", "deed"),
    [
        ("cp", "changes whatever files its arguments name"),
        ("cat", "shows whatever files its arguments name, the token of the owner included"),
    ],
)
def test_a_program_that_writes_or_shows_any_file_is_everything(
    bin: Path, name: str, deed: str
) -> None:
    (warning,) = asked(bin, f"BIN/{name}").explain(str(bin / name)).warnings
    assert deed in warning
    assert "everything that the account lab may do" in warning


def test_other_programs_are_what_they_are(bin: Path) -> None:
    assert asked(bin, "BIN/harmless").explain(str(bin / "harmless")).warnings == ()


def test_what_is_refused_is_no_comfort_beside_a_rule_that_is_everything(bin: Path) -> None:
    explanation = asked(bin, "BIN/harmless", "BIN/bash").explain("rm")
    assert not explanation.allowed
    assert "everything" in explanation.warnings[0]


FIXED = '[commands.x]\nargv = ["BIN/git", "status", "BIN/../harmless"]\n'
CHOICE = (
    '[commands.x]\nargv = ["BIN/git", "{a}"]\nparameters.a = { type = "choice", choices = ["a"] }\n'
)
TEXT = (
    '[commands.x]\nargv = ["BIN/git", "{a}"]\nparameters.a = { type = "pattern", pattern = ".*" }\n'
)
INPUT = '[commands.x]\nargv = ["BIN/bash"]\nstdin = true\nuser = "guest"\n'
ON_TERMINAL = '[commands.x]\nargv = ["BIN/vim.tiny"]\nterminal = true\n'


@pytest.mark.parametrize(
    ("commands", "chosen"),
    [
        (FIXED, None),
        (CHOICE, None),
        (TEXT, "see that a cannot make it do so, or it is everything that the account lab"),
        (
            INPUT,
            "see that its input cannot make it do so, or it is everything that the account guest",
        ),
        (ON_TERMINAL, "see that its terminal cannot make it do so"),
        (TEXT.replace("git", "harmless"), None),
        (TEXT.replace("git", "cat"), "see that a cannot make it do so, or it is everything"),
        (INPUT.replace("bash", "cat"), None),
    ],
)
def test_a_command_with_what_its_caller_chooses(
    bin: Path, commands: str, chosen: str | None
) -> None:
    warnings = asked(bin, "x", commands=commands).explain("x").warnings
    if chosen is None:
        assert warnings == ()
    else:
        assert chosen in warnings[0]


@pytest.mark.parametrize(
    ("environment", "is_told"),
    [
        ('["LC_*", "COLOUR"]', False),
        ('["PATH"]', True),
        ('["LD_*"]', True),
        ('["LD_PRELOAD"]', True),
        ('["P*"]', True),
        ('["PYTHONPA*"]', True),
        ("[]", False),
    ],
)
def test_variables_that_make_another_program_of_it(
    bin: Path, environment: str, is_told: bool
) -> None:
    rules = ("BIN/harmless", "x")
    of_all = f"[environment]\nallow = {environment}\n"
    of_one = f'[commands.x]\nargv = ["BIN/harmless"]\nenv_allowed = {environment}\n'
    for commands in (of_all, of_one):
        warnings = asked(bin, *rules, commands=commands).explain("x").warnings
        assert any("lets variables in" in warning for warning in warnings) == is_told


def test_a_program_that_its_caller_can_replace(bin: Path) -> None:
    commands = '[commands.x]\nargv = ["BIN/bash", "BIN/harmless"]\n'
    for access, count in ((FilesAccess.READ_ONLY, 0), (FilesAccess.READ_WRITE, 3)):
        question = asked(bin, "BIN/harmless", "x", commands=commands, access=access)
        warnings = [
            warning
            for warning in question.explain("x").warnings
            if "its caller may write" in warning
        ]
        assert len(warnings) == count


def test_a_program_that_everybody_can_replace(bin: Path) -> None:
    question = asked(bin, "BIN/harmless")
    (bin / "harmless").chmod(0o757)
    assert "everybody on the machine" in question.explain("x").warnings[0]
    (bin / "harmless").chmod(0o755)
    bin.chmod(0o777)
    assert "everybody on the machine" in question.explain("x").warnings[0]
    bin.chmod(0o1777)
    assert question.explain("x").warnings == ()


def test_a_program_that_is_none(bin: Path) -> None:
    (bin / "harmless").chmod(0o644)
    warnings = asked(bin, "BIN/harmless", "BIN/gone", str(bin)).explain("x").warnings
    assert "is not a program that can be run" in warnings[0]
    assert "there is no program" in warnings[1]
    assert "is not a program that can be run" in warnings[2]


def test_the_warnings_are_bounded(bin: Path) -> None:
    rules = [f"/no/such/program{number}" for number in range(30)]
    warnings = asked(bin, *rules).explain("x").warnings
    assert len(warnings) == 21
    assert warnings[-1] == "There are 10 more warnings."


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/no/python3.12", "python"),
        ("/no/perl5.36.0", "perl"),
        ("/no/gcc-12", "gcc"),
        ("/no/lua5.4", "lua"),
        ("/no/vim.basic", "vim"),
        ("/no/sqlite3", "sqlite"),
        ("/no/7z", "7z"),
        ("/lib64/ld-linux-x86-64.so.2", "ld"),
    ],
)
def test_the_names_of_programs(path: str, name: str) -> None:
    assert name in known_as(path)
    assert name in RUNS_OTHERS


def test_no_program_is_in_two_lists() -> None:
    assert not RUNS_OTHERS & WRITES_FILES
    assert not READS_FILES & (RUNS_OTHERS | WRITES_FILES)
