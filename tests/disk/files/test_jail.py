"""The jail: nothing leads out of it, and what is in it can be had."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockserv.files.errors import (
    Busy,
    FilesDenied,
    FilesError,
    FilesIOError,
    NoSpace,
    NotADirectory,
    NotAFile,
    NotFound,
    RefusedName,
    TooLong,
)
from sockserv.files.jail import Jail, files_error
from tests.files.attacks import ATTACKS, SECRET, Attack, Prison


@pytest.fixture
def prison(tmp_path: Path) -> Prison:
    return Prison(tmp_path)


@pytest.fixture
def jail(prison: Prison) -> Jail:
    return Jail(prison.root)


def read(jail: Jail, path: str) -> bytes:
    file = jail.open_file(path)
    try:
        return os.read(file, 1000)
    finally:
        os.close(file)


def names(jail: Jail, path: str) -> list[str]:
    with jail.directory(path) as directory:
        return sorted(os.listdir(directory))


def make(jail: Jail, path: str) -> None:
    with jail.parent(path, make=True) as (parent, name):
        os.mkdir(name, dir_fd=parent)


def replace(jail: Jail, path: str) -> None:
    """As an upload does it."""
    with jail.parent(path) as (parent, name):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        os.close(os.open("new", flags, dir_fd=parent))
        os.replace("new", name, src_dir_fd=parent, dst_dir_fd=parent)


READING: list[Callable[[Jail, str], object]] = [read, names]
CHANGING: list[Callable[[Jail, str], object]] = [make, replace]


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    before = os.listdir("/proc/self/fd")
    yield
    assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.title)
def test_an_attack_on_what_reads(prison: Prison, jail: Jail, attack: Attack) -> None:
    path = attack.set_up(prison)
    with no_descriptor_left():
        for use in READING:
            with pytest.raises(FilesError) as caught:
                use(jail, path)
            assert str(prison.folder) not in str(caught.value).replace(repr(path), "")


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.title)
@pytest.mark.parametrize("use", CHANGING)
def test_an_attack_on_what_changes(
    prison: Prison, jail: Jail, attack: Attack, use: Callable[[Jail, str], object]
) -> None:
    path = attack.set_up(prison)
    before = prison.seen_outside()
    with no_descriptor_left():
        try:
            use(jail, path)
        except FilesError:
            assert not attack.is_name
    assert prison.seen_outside() == before


def test_what_is_inside(jail: Jail) -> None:
    assert read(jail, "file") == read(jail, "folder/file") == b"inside"
    assert names(jail, "") == names(jail, ".") == ["file", "folder"]
    assert names(jail, "folder") == ["file"]
    assert stat.S_ISDIR(jail.status("").st_mode)
    assert jail.status("folder/file").st_size == 6


def test_a_link_is_seen_as_one(prison: Prison, jail: Jail) -> None:
    (prison.root / "link").symlink_to(prison.outside)
    assert stat.S_ISLNK(jail.status("link").st_mode)


def test_a_file_with_another_name_outside(prison: Prison, jail: Jail) -> None:
    """It can be read, which is documented; what replaces it here leaves it alone there."""
    (prison.root / "hard").hardlink_to(prison.outside / "secret")
    assert read(jail, "hard") == SECRET
    before = prison.seen_outside()
    replace(jail, "hard")
    assert read(jail, "hard") == b""
    assert prison.seen_outside() == before


def test_what_is_not_there(jail: Jail) -> None:
    for path in ("nothing", "folder/nothing", "nothing/file"):
        with pytest.raises(NotFound) as caught:
            read(jail, path)
        assert caught.value.details == {"path": path}
        assert repr(path) in str(caught.value)


def test_what_is_something_else(prison: Prison, jail: Jail) -> None:
    os.mkfifo(prison.root / "fifo")
    for path in ("folder", "", "fifo"):
        with pytest.raises(NotAFile):
            read(jail, path)
    for path in ("file", "fifo", "file/x"):
        with pytest.raises(NotADirectory):
            names(jail, path)


def test_the_root_is_in_nothing(jail: Jail) -> None:
    for path in ("", "."):
        with pytest.raises(RefusedName), jail.parent(path):
            pytest.fail("there is no such parent")


def test_what_the_block_meets_is_said_of_the_path(jail: Jail) -> None:
    with pytest.raises(NoSpace, match="'folder/file': the disk is full"):  # noqa: SIM117
        with jail.parent("folder/file"):
            raise OSError(errno.ENOSPC, "x", "/srv/files")


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EACCES, FilesDenied),
        (errno.EMFILE, Busy),
        (errno.EIO, FilesIOError),
        (errno.ENAMETOOLONG, TooLong),
        (errno.EDQUOT, NoSpace),
    ],
)
def test_what_the_system_says(number: int, kind: type[FilesError]) -> None:
    error = files_error(OSError(number, "x", "/srv/files/a"), "a")
    assert type(error) is kind
    assert "srv" not in str(error)


def test_missing_directories_are_made_only_when_asked(prison: Prison, jail: Jail) -> None:
    with pytest.raises(NotFound), jail.parent("a/b/c"):
        pytest.fail("there is no such parent")
    with jail.parent("a/b/c", make=True) as (parent, name):
        assert os.path.samestat(os.fstat(parent), (prison.root / "a" / "b").stat())
        assert name == "c"
    assert not (prison.root / "a" / "b" / "c").exists()


def test_a_root_below(prison: Prison) -> None:
    jail = Jail(prison.root, ("alice", "inbox"))
    with pytest.raises(NotFound):
        jail.status("")
    with pytest.raises(NotFound), jail.parent("a/b", make=True):
        pytest.fail("a root is made only by a jail that makes its root")
    jail = Jail(prison.root, ("alice", "inbox"), makes_root=True)
    with pytest.raises(NotFound):
        jail.status("a")
    assert stat.S_IMODE((prison.root / "alice" / "inbox").stat().st_mode) == 0o700
    with jail.parent("a/b", make=True):
        assert (prison.root / "alice" / "inbox" / "a").is_dir()


def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        Jail(tmp_path / "a" / "b").status("")
    Jail(tmp_path / "a" / "b", makes_root=True).status("")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


@pytest.mark.parametrize("makes_root", [False, True])
def test_a_root_below_is_no_link(prison: Prison, makes_root: bool) -> None:
    (prison.root / "alice").symlink_to(prison.outside)
    jail = Jail(prison.root, ("alice",), makes_root=makes_root)
    for use in (lambda: jail.status(""), lambda: read(jail, "secret")):
        with pytest.raises(NotADirectory):
            use()


def test_names_as_they_are_on_the_disk(prison: Prison, jail: Jail) -> None:
    """What is no UTF-8 cannot be asked for, but what is found in a list can be walked."""
    name = os.fsdecode(b"caf\xe9")
    (prison.root / "folder" / name).mkdir()
    with pytest.raises(RefusedName):
        names(jail, f"folder/{name}")
    with jail.directory("folder", (name,)) as directory:
        assert os.listdir(directory) == []


def test_a_link_to_the_root_is_followed(prison: Prison, tmp_path: Path) -> None:
    """Whoever sets up the jail says where it is."""
    (tmp_path / "link").symlink_to(prison.root)
    assert read(Jail(tmp_path / "link"), "file") == b"inside"


def test_a_directory_that_is_moved_away_takes_nobody_along(prison: Prison, jail: Jail) -> None:
    with jail.directory("folder") as folder:
        (prison.root / "folder").rename(prison.outside / "moved")
        (prison.root / "folder").symlink_to(prison.outside)
        assert os.listdir(folder) == ["file"]


@given(st.text(alphabet="./\\a\0é~", max_size=12))
def test_no_path_leads_out(tmp_path_factory: pytest.TempPathFactory, path: str) -> None:
    jail = _shared_jail(tmp_path_factory)
    for use in READING:
        try:
            seen = use(jail, path)
        except FilesError:
            continue
        assert SECRET not in str(seen).encode()
        assert path in ("", ".")


def _shared_jail(factory: pytest.TempPathFactory, known: list[Jail] = []) -> Jail:  # noqa: B006
    if not known:
        known.append(Jail(Prison(factory.mktemp("shared")).root))
    return known[0]


@pytest.mark.parametrize("use", [*READING, replace])
def test_a_directory_that_becomes_a_link_meanwhile(
    prison: Prison, jail: Jail, use: Callable[[Jail, str], object]
) -> None:
    """Somebody swaps `folder` for a link to the outside and back, as fast as they can."""
    root = prison.root
    (root / "link").symlink_to(prison.outside)
    before = prison.seen_outside()
    stop = threading.Event()

    def hammer() -> None:
        while not stop.is_set():
            (root / "folder").rename(root / "aside")
            (root / "link").rename(root / "folder")
            (root / "folder").rename(root / "link")
            (root / "aside").rename(root / "folder")

    hammering = threading.Thread(target=hammer)
    hammering.start()
    try:
        outcomes = {_outcome(use, jail, number) for number in range(500)}
    finally:
        stop.set()
        hammering.join()
    # Which of these there are depends on who is quicker.
    assert outcomes <= {None, NotADirectory, NotFound}
    assert prison.seen_outside() == before


def _outcome(
    use: Callable[[Jail, str], object], jail: Jail, number: int
) -> type[FilesError] | None:
    path = "folder" if use is names else "folder/file" if use is read else f"folder/{number}"
    try:
        seen = use(jail, path)
    except FilesError as error:
        return type(error)
    assert seen in (b"inside", None) or seen == ["file"]
    return None
