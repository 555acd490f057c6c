"""Parameters that are paths in the caller's folder."""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import pytest

from sockserv.errors import InvalidArgument
from sockserv.execution.errors import Refused
from sockserv.services.execution.policy import ExecutionPolicy
from sockserv.services.execution.policy.configuration import parse_configuration
from sockserv.services.files.folders import Folders
from sockserv.trust.identities import FilesAccess, FilesGrant
from tests.files.attacks import ATTACKS, Attack, Prison
from tests.services.execution.policy.kit import OWNER, Asked, FakeAccounts, alice

COMMANDS = """
[commands.show]
argv = ["/bin/show", "{path}"]
parameters.path = { type = "path" }

[commands.list]
argv = ["/bin/list", "--at={path}"]
parameters.path = { type = "path", expects = "directory" }

[commands.make]
argv = ["/bin/make", "{path}"]
parameters.path = { type = "path", expects = "new" }

[commands.edit]
argv = ["/bin/edit", "{path}"]
parameters.path = { type = "path", expects = "anything" }

[commands.pack]
argv = ["/bin/pack", "{path}"]
parameters.path = { type = "path", max_count = 3 }

[commands.default]
argv = ["/bin/show", "{path}"]
parameters.path = { type = "path", default = "a/file" }
"""
CONFIGURATION = parse_configuration(COMMANDS, file="commands.toml")
NAMES = ("show", "list", "make", "edit", "pack", "default")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "alice" / "a").mkdir(parents=True)
    (root / "alice" / "a" / "file").write_text("x")
    (root / "alice" / "-rf").write_text("x")
    (root / "alice" / "大 {x}").write_text("x")
    (root / "other").mkdir()
    (root / "other" / "file").write_text("x")
    (tmp_path / "secret").write_text("x")
    (root / "alice" / "link").symlink_to(tmp_path / "secret")
    (root / "alice" / "link_in").symlink_to("a/file")
    (root / "alice" / "out").symlink_to(root / "other")
    os.mkfifo(root / "alice" / "fifo")
    return root


def asked(root: Path, access: FilesAccess = FilesAccess.READ_WRITE, place: str = "alice") -> Asked:
    policy = ExecutionPolicy(
        configuration=lambda: CONFIGURATION, folder_of=Folders(root).of, accounts=FakeAccounts()
    )
    return Asked(attrs.evolve(alice(*NAMES), files=FilesGrant(place, access)), policy)


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("show", "a/file", "{root}/alice/a/file"),
        ("show", "-rf", "{root}/alice/-rf"),
        ("list", "a", "--at={root}/alice/a"),
        ("list", ".", "--at={root}/alice"),
        ("list", "", "--at={root}/alice"),
        ("make", "a/new", "{root}/alice/a/new"),
        ("edit", "a/new", "{root}/alice/a/new"),
        ("edit", "a/file", "{root}/alice/a/file"),
        ("edit", "a", "{root}/alice/a"),
    ],
)
def test_a_command_is_given_the_absolute_path(root: Path, name: str, value: str, word: str) -> None:
    assert asked(root).decide(name, value).program.argv[1] == word.format(root=root)


def test_nothing_in_a_path_is_interpreted(root: Path) -> None:
    assert asked(root).decide("show", "大 {x}").program.argv[1] == f"{root}/alice/大 {{x}}"


def test_several_paths(root: Path) -> None:
    argv = asked(root).decide("pack", "a/file", "-rf").program.argv
    assert argv == ("/bin/pack", f"{root}/alice/a/file", f"{root}/alice/-rf")
    assert asked(root).refusal("pack", "a/file", "nothing")[0] == "pack"


def test_a_default_is_a_path_in_the_callers_folder(root: Path) -> None:
    assert asked(root).decide("default").program.argv[1] == f"{root}/alice/a/file"
    assert "no such file" in asked(root, place="other").refusal("default")[1]


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("show", "nothing", "show: path: 'nothing': there is no such file"),
        ("show", "no/thing", "show: path: 'no/thing': there is no such file or directory"),
        ("show", "a", "show: path: 'a' is not a file"),
        ("show", ".", "show: path: '.' is not a file"),
        ("show", "fifo", "show: path: 'fifo' is not a file"),
        ("show", "link", "show: path: 'link' is not a file"),
        ("show", "link_in", "show: path: 'link_in' is not a file"),
        ("show", "out/file", "show: path: 'out/file': it, or something on the way to it"),
        ("show", "a/file/x", "show: path: 'a/file/x': it, or something on the way to it"),
        (
            "show",
            "../other/file",
            "show: path: expected a path in your folder: '../other/file' has",
        ),
        ("show", "/etc/passwd", "show: path: expected a path in your folder: '/etc/passwd' has"),
        ("show", "a//file", "show: path: expected a path in your folder"),
        ("show", "a/./file", "show: path: expected a path in your folder"),
        ("show", "a/../a/file", "show: path: expected a path in your folder"),
        ("show", "a\nb", "show: path: expected a path without control characters"),
        ("show", "x" * 256, "show: path: expected a path in your folder: a name in the path has"),
        ("show", "x/" * 3000 + "x", "show: path: expected a path in your folder: the path has"),
        ("list", "a/file", "list: path: 'a/file' is not a directory"),
        ("list", "out", "list: path: 'out' is not a directory"),
        ("list", "no", "list: path: 'no': there is no such directory"),
        ("make", "a/file", "make: path: 'a/file': it exists already"),
        ("make", "link", "make: path: 'link': it exists already"),
        ("make", "no/thing", "make: path: 'no/thing': there is no such file or directory"),
        ("make", ".", "make: path: expected the path of something new"),
        ("edit", "link", "edit: path: 'link' is neither a file nor a directory"),
        ("edit", "fifo", "edit: path: 'fifo' is neither a file nor a directory"),
        ("edit", "out/new", "edit: path: 'out/new': it, or something on the way to it"),
    ],
)
def test_what_is_refused(root: Path, name: str, value: str, why: str) -> None:
    rule, said = asked(root).refusal(name, value)
    assert rule == name
    assert said.startswith(why)
    assert str(root) not in said


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.title)
def test_no_attack_on_a_jail_leads_a_command_out_of_it(tmp_path: Path, attack: Attack) -> None:
    prison = Prison(tmp_path)
    path = attack.set_up(prison)
    question = asked(tmp_path, place="root")
    for name in NAMES[:4]:
        try:
            word = question.decide(name, path).program.argv[1].removeprefix("--at=")
        except (InvalidArgument, Refused):
            continue
        assert Path(word).resolve().is_relative_to(prison.root.resolve())


@pytest.mark.parametrize(
    ("access", "allowed"),
    [
        (FilesAccess.READ_ONLY, {"show", "list"}),
        (FilesAccess.READ_WRITE, {"show", "list", "make", "edit"}),
        (FilesAccess.DROP, {"make"}),
    ],
)
def test_who_may_not_write_names_nothing_to_be_written(
    root: Path, access: FilesAccess, allowed: set[str]
) -> None:
    question = asked(root, access)
    values = {"show": "a/file", "list": "a", "make": "new", "edit": "new"}
    found = {name for name, value in values.items() if question.explain(name, value).allowed}
    assert found == allowed


def test_who_has_no_folder_has_no_paths(root: Path) -> None:
    question = Asked(alice(*NAMES), asked(root).policy)
    rule, why = question.refusal("show", "a/file")
    assert rule == "show"
    assert why == "show: a path counts from a folder, and alice has not been given a folder"


def test_a_server_without_files_has_no_paths() -> None:
    policy = ExecutionPolicy(configuration=lambda: CONFIGURATION, accounts=FakeAccounts())
    why = Asked(alice("show"), policy).refusal("show", "x")[1]
    assert why == "show: this server has no files, and so no paths"


def test_the_owners_paths_count_from_the_root(root: Path) -> None:
    owner = Asked(OWNER, asked(root).policy)
    assert owner.decide("show", "other/file").program.argv[1] == f"{root}/other/file"


def test_a_folder_by_its_absolute_path(root: Path) -> None:
    question = asked(root, place=str(root / "other"))
    assert question.decide("show", "file").program.argv[1] == f"{root}/other/file"


def test_the_whole_disk_as_a_folder(root: Path) -> None:
    question = asked(root, place="/")
    assert question.decide("list", "usr").program.argv[1] == "--at=/usr"
    assert question.decide("list", ".").program.argv[1] == "--at=/"
