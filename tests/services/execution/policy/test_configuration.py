"""The text of commands.toml: what it means, and what is said of mistakes."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockserv.execution.arguments import ResourceLimits
from sockserv.services.execution.policy.commands import NamedCommand
from sockserv.services.execution.policy.configuration import Configuration, parse_configuration
from sockserv.services.execution.policy.environment import Names
from sockserv.services.execution.policy.parameters import (
    Choice,
    Expected,
    Integer,
    Parameter,
    PathInFolder,
    Text,
)
from sockserv.trust.edited_file import EditedFileError

ROOT = Path(__file__).resolve().parents[4]

WHOLE = """
[environment]
allow = ["LC_*", "GIT_AUTHOR_NAME"]
set = { http_proxy = "http://proxy:3128" }

[owner]
exec = ["any", "flash", "/usr/bin/df"]

[commands.flash]
description = "Write an image to a board"
argv = ["/usr/bin/flash", "--port={port}", "--speed", "{speed}", "{{{port}}}", "--", "{label}", "{images}"]
env = { FLASH_COLOUR = "no" }
env_allowed = ["LANG"]
cwd = "/srv/flash"
user = "flasher"
timeout_seconds = 600
output_limit_bytes = 1_000_000
limits = { cpu_seconds = 60, memory_bytes = 1_000_000_000, processes = 10, open_files = 64, file_bytes = 0 }
nice = 5
stdin = true
terminal = true

[commands.flash.parameters.images]
type = "path"
min_count = 0
max_count = 8

[commands.flash.parameters.port]
type = "integer"
min = -1
max = 7
description = "The socket that the board is in"

[commands.flash.parameters.label]
type = "pattern"
pattern = '[a-z]+'
max_length = 20
options = true
default = "new"

[commands.flash.parameters.speed]
type = "choice"
choices = ["fast", "-slow"]
default = "fast"

[commands."a.b-c_1"]
argv = ["/bin/{{x}}"]
"""


def parse(text: str) -> Configuration:
    return parse_configuration(text, file="commands.toml")


def mistake(text: str) -> str:
    with pytest.raises(EditedFileError) as caught:
        parse(text)
    message = str(caught.value)
    assert message.startswith("commands.toml")
    return message.removeprefix("commands.toml").strip()


def test_all_fields() -> None:
    configuration = parse(WHOLE)
    assert configuration.allowed_variables == Names.of(["LC_*", "GIT_AUTHOR_NAME"])
    assert configuration.set_variables == {"http_proxy": "http://proxy:3128"}
    assert configuration.owner_rules == ("any", "flash", "/usr/bin/df")
    assert list(configuration.commands) == ["flash", "a.b-c_1"]
    flash = configuration.commands["flash"]
    port, speed, label, images = flash.parameters
    assert port == Parameter(
        name="port", kind=Integer(-1, 7), description="The socket that the board is in"
    )
    assert speed == Parameter(name="speed", kind=Choice(("fast", "-slow")), default="fast")
    assert (label.name, label.default) == ("label", "new")
    assert isinstance(label.kind, Text)
    assert (label.kind.pattern.text, label.kind.max_length) == ("[a-z]+", 20)
    assert label.kind.takes_options
    assert images == Parameter(
        name="images",
        kind=PathInFolder(Expected.FILE),
        min_count=0,
        max_count=8,
        is_repeated=True,
    )
    assert flash.usage == "flash PORT [SPEED] [LABEL] [IMAGES]..."
    assert flash.limits == ResourceLimits(
        cpu_seconds=60, memory_bytes=10**9, processes=10, open_files=64, file_bytes=0
    )
    assert (flash.cwd, flash.user, flash.nice) == ("/srv/flash", "flasher", 5)
    assert (flash.timeout_seconds, flash.output_limit_bytes) == (600, 1_000_000)
    assert (flash.stdin, flash.terminal) == (True, True)
    assert (flash.env, flash.env_allowed) == ({"FLASH_COLOUR": "no"}, Names.of(["LANG"]))


def test_what_is_not_said() -> None:
    command = parse(WHOLE).commands["a.b-c_1"]
    assert command == NamedCommand(name="a.b-c_1", words=command.words)
    assert command.program == "/bin/{x}"
    assert not command.stdin
    assert not command.terminal


def test_the_examples_in_the_documents() -> None:
    page = (ROOT / "docs" / "exec.md").read_text(encoding="utf-8")
    flash, more = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    configuration = parse(flash + more)
    assert configuration.commands["flash"].usage == "flash PORT IMAGE [SPEED]"
    assert configuration.owner_rules == ("flash", "/usr/bin/df")
    assert "GIT_AUTHOR_NAME" in configuration.allowed_variables


def test_nothing() -> None:
    assert parse("# nothing\n") == Configuration()


def command(more: str = "", argv: str = '["/bin/x", "{a}"]') -> str:
    return f"[commands.x]\nargv = {argv}\n{more}"


def parameter(more: str, argv: str = '["/bin/x", "{a}"]') -> str:
    return f"[commands.x]\nargv = {argv}\n[commands.x.parameters.a]\n{more}"


INTEGER = 'type = "integer"\nmin = 0\nmax = 7'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x", "line 1: is not TOML: expected '='"),
        ("a = " + "[" * 2000 + "]" * 2000, "is nested too deeply"),
        ("\n[comands.x]\n", "line 2: comands: there is no such table; expected environment"),
        ("commands = 1", "line 1: commands: expected a table [commands.NAME]"),
        ("owner = []", "line 1: owner: expected a table [owner]"),
        ("[owner]\n", "line 1: owner.exec: is missing"),
        ("[owner]\nexec = ['any', '../x']", "line 2: owner.exec[1]: expected any, shell"),
        ("[environment]\nalow = []", "line 2: environment.alow: there is no such setting; did"),
        ("[environment]\nallow = [\n'*']", "line 3: environment.allow[0]: expected the name"),
        ("[environment]\nallow = ['S*']", "line 2: environment.allow[0]: expected the name"),
        ("[environment]\nallow = ['SOCKSERV_JOB']", "environment.allow[0]: expected the name"),
        ("[environment]\nallow = ['A*B']", "line 2: environment.allow[0]: expected the name"),
        ("[environment]\nallow = ['']", "line 2: environment.allow[0]: expected the name"),
        ("[environment.set]\nSOCKSERV_X = ''", "environment.set.SOCKSERV_X: expected the name"),
        ('[environment.set]\n"A*" = ""', "environment.set.A*: expected the name"),
        ('[environment.set]\nA = "\\u0000"', "line 2: environment.set.A: has a NUL"),
        ("[environment.set]\nA = 1", "line 2: environment.set.A: expected a text in quotation"),
        (command("env = { A = [] }", '["/x"]'), "commands.x.env.A: expected a text in quotation"),
        ("[commands]\nx = 1", "line 2: commands.x: expected a table [commands.x]"),
        ("[commands.x]\n", "line 1: commands.x.argv: is missing"),
        ("[commands.x]\nargv = []", "line 2: commands.x.argv: "),
        ("[commands.x]\nargv = 'x'", "line 2: commands.x.argv: expected array, got str"),
        ("[commands.any]\nargv = ['/x']", "line 1: commands.any: a command's name has"),
        ("[commands.shell]\nargv = ['/x']", "line 1: commands.shell: a command's name has"),
        ("[commands.none]\nargv = ['/x']", "line 1: commands.none: a command's name has"),
        ("[commands.X]\nargv = ['/x']", "line 1: commands.X: a command's name has"),
        ("[commands.'']\nargv = ['/x']", "line 1: commands.: a command's name has"),
        ('[commands."x\\u001b"]\nargv = ["/x"]', "line 1: 'commands.x\\x1b': a command's"),
        ("[commands.a.b]\nargv = ['/x']", "line 1: commands.a.b: there is no such table; a name"),
        (command(argv='["x"]'), "line 2: commands.x.argv[0]: expected the absolute path"),
        (command(argv='["/bin/../x"]'), "argv[0]: expected the absolute path"),
        (command(argv='["//bin/x"]'), "argv[0]: expected the absolute path"),
        (command(argv='["/"]'), "argv[0]: expected the absolute path"),
        (command(argv='["/bin/{a}"]'), "argv[0]: expected the absolute path"),
        (command(argv='["/bin/x", "\\u0000"]'), "argv[1]: has a NUL"),
        (command(argv='["/bin/x", "{a"]'), "argv[1]: write {{ for {"),
        (command(argv='["/bin/x", "a}"]'), "argv[1]: write }} for }"),
        (command(argv='["/bin/x", "{}"]'), "argv[1]: the name of a parameter"),
        (command(argv='["/bin/x", "{A}"]'), "argv[1]: the name of a parameter"),
        (command(argv='["/bin/x", "{a.b}"]'), "argv[1]: the name of a parameter"),
        (command(), "line 2: commands.x.argv[1]: there is no parameter a"),
        (command("shell = true", '["/x"]'), "line 3: commands.x.shell: there is no such setting"),
        (command("cwd = 'x'", '["/x"]'), "line 3: commands.x.cwd: expected the absolute path"),
        (command("user = ''", '["/x"]'), "line 3: commands.x.user: "),
        (command('user = "\\u0000"', '["/x"]'), "line 3: commands.x.user: expected the name"),
        (command("nice = 20", '["/x"]'), "line 3: commands.x.nice: expected int <= 19"),
        (command("timeout_seconds = 0", '["/x"]'), "line 3: commands.x.timeout_seconds: "),
        (command("timeout_seconds = nan", '["/x"]'), "line 3: commands.x.timeout_seconds: "),
        (command("output_limit_bytes = -1", '["/x"]'), "line 3: commands.x.output_limit"),
        (command("limits = { cpu = 1 }", '["/x"]'), "commands.x.limits.cpu: there is no such"),
        (command("limits = { processes = 0 }", '["/x"]'), "commands.x.limits.processes: expected"),
        (command('description = "a\\nb"', '["/x"]'), "description: expected one line"),
        (command("env = { '1' = '' }", '["/x"]'), "commands.x.env.1: expected the name"),
        (command("env_allowed = ['*']", '["/x"]'), "commands.x.env_allowed[0]: expected"),
        (command("parameters.a = 1"), "line 3: commands.x.parameters"),
        (parameter("", '["/x"]'), "line 3: commands.x.parameters.a: has no place in argv"),
        (parameter(""), "line 3: commands.x.parameters.a.type: expected one of choice, integer"),
        (parameter("type = 1"), "line 4: commands.x.parameters.a.type: expected one of"),
        (parameter("type = 'int'"), "line 4: commands.x.parameters.a.type: expected one of"),
        (parameter("type = 'integer'"), "commands.x.parameters.a.min: is missing"),
        (parameter(INTEGER + "\nmx = 1"), "line 7: commands.x.parameters.a.mx: there is no such"),
        (parameter(INTEGER + "\nchoices = ['1']"), "line 7: commands.x.parameters.a.choices: "),
        (parameter("type = 'integer'\nmin = 8\nmax = 7"), "line 5: commands.x.parameters.a.min"),
        (parameter("type = 'integer'\nmin = 0\nmax = 9223372036854775808"), "a.max: "),
        (parameter(INTEGER + "\ndefault = 8"), "line 7: commands.x.parameters.a.default: expected"),
        (parameter(INTEGER + "\ndefault = true"), "line 7: commands.x.parameters.a.default: "),
        (parameter(INTEGER + "\nmin_count = 1"), "a.min_count: is for what is repeated"),
        (parameter(INTEGER + "\nmin_count = 3\nmax_count = 2"), "a.min_count: is more than"),
        (parameter(INTEGER + "\nmax_count = 0"), "a.max_count: expected int >= 1"),
        (parameter(INTEGER + "\nmax_count = 4097"), "a.max_count: expected int <= 4096"),
        (parameter(INTEGER + "\nmax_count = 2\ndefault = 1"), "a.default: what is repeated has"),
        (parameter(INTEGER + "\nmax_count = 2", '["/x", "-{a}"]'), "argv[1]: a is repeated: its"),
        (parameter("type = 'choice'\nchoices = []"), "line 5: commands.x.parameters.a.choices"),
        (parameter('type = "choice"\nchoices = ["a\\u0000"]'), "a.choices[0]: expected one line"),
        (parameter("type = 'pattern'\npattern = '^a'"), "line 5: commands.x.parameters.a.pattern"),
        (parameter("type = 'pattern'\npattern = '(a+)+('"), "a.pattern: there is a ( without"),
        (parameter("type = 'pattern'\npattern = 'a'\nmax_length = 1025"), "a.max_length: "),
        (parameter("type = 'pattern'\npattern = '-'\ndefault = '-'"), "a.default: a value that"),
        (parameter("type = 'path'\nexpects = 'link'"), "line 5: commands.x.parameters.a.expects"),
        (parameter("type = 'path'\ndefault = '../x'"), "a.default: expected a path in your"),
        (parameter('type = "path"\ndescription = "\\u202e"'), "a.description: expected one line"),
    ],
)
def test_mistakes(text: str, said: str) -> None:
    assert said in mistake(text)


def two(first: str, second: str) -> str:
    integer = 'type = "integer"\nmin = 0\nmax = 7\n'
    return (
        '[commands.x]\nargv = ["/x", "{b}", "{a}", "{b}"]\n'
        f"[commands.x.parameters.a]\n{integer}{second}\n[commands.x.parameters.b]\n{integer}{first}"
    )


def test_values_come_in_the_order_of_the_places() -> None:
    assert parse(two("", "")).commands["x"].usage == "x B A"
    assert parse(two("", "default = 1")).commands["x"].usage == "x B [A]"
    assert parse(two("", "max_count = 3")).commands["x"].usage == "x B A..."


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("default = 1", "", "parameters.a: comes after b, which may be left out"),
        ("default = 1", "max_count = 2", "parameters.a: comes after b, which may be left out"),
        ("max_count = 2", "", "parameters.b: is repeated, and a comes after it"),
    ],
)
def test_it_has_to_be_clear_which_value_is_whose(first: str, second: str, said: str) -> None:
    assert said in mistake(two(first, second))


@given(st.text("[]={}\"'.,\n commandsxargvparameterstype/-*\\0", max_size=60))
def test_any_text_is_understood_or_refused(text: str) -> None:
    with suppress(EditedFileError):
        parse(text)
    with suppress(EditedFileError):
        parse("[commands.x]\nargv = ['/x', '{a}']\n[commands.x.parameters.a]\n" + text)
