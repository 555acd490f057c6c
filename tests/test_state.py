"""The state directory: what a daemon makes in it, whom it refuses, and what a client believes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from sockserv.errors import StateError
from sockserv.state import HeldState, StateDirectory

URLS = ["tcp://127.0.0.1:7700", "unix:///run/user/1000/sockserv.sock"]


@pytest.fixture
def directory(tmp_path: Path) -> StateDirectory:
    return StateDirectory(tmp_path / "parent" / "state")


@pytest.fixture
def held(directory: StateDirectory) -> Iterator[HeldState]:
    held = directory.open_for_daemon()
    yield held
    held.close()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestLocate:
    def test_what_was_chosen_comes_first(self, tmp_path: Path) -> None:
        found = StateDirectory.locate(tmp_path, environ={"SOCKSERV_STATE": "/elsewhere"})
        assert found.path == tmp_path

    def test_the_environment_comes_second(self) -> None:
        found = StateDirectory.locate(environ={"SOCKSERV_STATE": "/elsewhere"})
        assert found.path == Path("/elsewhere")

    @pytest.mark.parametrize("environ", [{}, {"SOCKSERV_STATE": ""}])
    def test_the_account_has_one_of_its_own(self, environ: dict[str, str]) -> None:
        assert StateDirectory.locate(environ=environ).path.name == "sockserv"

    def test_a_relative_path_counts_from_the_current_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert StateDirectory.locate("a/../b", environ={}).path == tmp_path / "b"

    def test_the_home_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        assert StateDirectory.locate("~/state", environ={}).path == tmp_path / "state"

    def test_an_account_that_does_not_exist(self) -> None:
        with pytest.raises(StateError, match="cannot tell which directory ~nobody-here/x is"):
            StateDirectory.locate("~nobody-here/x", environ={})


class TestFirstStart:
    def test_the_directory_is_private(self, held: HeldState) -> None:
        assert mode_of(held.path) == 0o700

    def test_the_token_is_private_and_random(self, held: HeldState, tmp_path: Path) -> None:
        assert mode_of(held.path / "owner-token") == 0o600
        other = StateDirectory(tmp_path / "other")
        other.open_for_daemon().close()
        assert other.owner_token() != StateDirectory(held.path).owner_token()

    def test_nothing_else_is_left(self, held: HeldState) -> None:
        assert sorted(os.listdir(held.path)) == ["lock", "owner-token"]

    def test_a_loose_umask_does_not_matter(self, directory: StateDirectory) -> None:
        before = os.umask(0)
        try:
            held = directory.open_for_daemon()
            held.announce(URLS)
        finally:
            os.umask(before)
        assert mode_of(held.path) == 0o700
        assert {mode_of(path) for path in held.path.iterdir()} == {0o600}
        held.close()


class TestLaterStarts:
    def test_the_token_stays(self, directory: StateDirectory) -> None:
        directory.open_for_daemon().close()
        token = directory.owner_token()
        directory.open_for_daemon().close()
        assert directory.owner_token() == token

    def test_a_crash_while_the_token_was_written_leaves_none(
        self, directory: StateDirectory
    ) -> None:
        directory.path.mkdir(mode=0o700, parents=True)
        (directory.path / "owner-token.new").write_text("half")
        directory.open_for_daemon().close()
        assert len(directory.owner_token()) == 43
        assert not (directory.path / "owner-token.new").exists()

    @pytest.mark.parametrize("content", ["", "short", "x" * 44, "é" * 43])
    def test_a_token_that_is_none(self, directory: StateDirectory, content: str) -> None:
        directory.open_for_daemon().close()
        (directory.path / "owner-token").write_text(content)
        with pytest.raises(StateError, match="owner-token does not hold a token: remove it"):
            directory.open_for_daemon()

    def test_a_token_that_others_can_read(self, directory: StateDirectory) -> None:
        directory.open_for_daemon().close()
        (directory.path / "owner-token").chmod(0o644)
        with pytest.raises(StateError, match=r"others can read the owner token .* \(mode 0644\)"):
            directory.open_for_daemon()

    def test_a_token_that_is_a_link(self, directory: StateDirectory, tmp_path: Path) -> None:
        directory.open_for_daemon().close()
        token = directory.path / "owner-token"
        token.rename(tmp_path / "moved")
        token.symlink_to(tmp_path / "moved")
        with pytest.raises(StateError, match="cannot read .*owner-token: too many levels of symb"):
            directory.open_for_daemon()

    def test_a_refused_start_lets_the_directory_go(self, directory: StateDirectory) -> None:
        directory.open_for_daemon().close()
        token = directory.path / "owner-token"
        token.write_text("")
        with pytest.raises(StateError):
            directory.open_for_daemon()
        token.unlink()
        directory.open_for_daemon().close()


class TestRefusals:
    @pytest.mark.parametrize("mode", [0o750, 0o701, 0o720])
    def test_a_directory_that_others_can_enter(self, tmp_path: Path, mode: int) -> None:
        tmp_path.chmod(mode)
        with pytest.raises(StateError, match=rf"\(mode 0{mode:o}\): close it with `chmod 700 /"):
            StateDirectory(tmp_path).open_for_daemon()

    def test_a_directory_of_another_account(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        owner = tmp_path.stat().st_uid
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
        with pytest.raises(StateError, match=f"belongs to the account with the number {owner}, no"):
            StateDirectory(tmp_path).open_for_daemon()

    def test_a_second_daemon(self, held: HeldState, directory: StateDirectory) -> None:
        with pytest.raises(StateError, match=f"process id {os.getpid()} already uses the state"):
            directory.open_for_daemon()

    def test_a_daemon_after_another(self, directory: StateDirectory) -> None:
        first = directory.open_for_daemon()
        first.close()
        first.close()
        directory.open_for_daemon().close()

    def test_a_path_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(StateError, match="cannot make /.*/file: file exists"):
            StateDirectory(tmp_path / "file").open_for_daemon()
        with pytest.raises(StateError, match="cannot make /.*/file/below: file exists"):
            StateDirectory(tmp_path / "file" / "below").open_for_daemon()


class TestRunning:
    def test_a_client_finds_the_daemon(self, held: HeldState, directory: StateDirectory) -> None:
        held.announce(URLS)
        running = directory.running()
        assert running.pid == os.getpid()
        assert list(running.listening) == URLS

    def test_a_new_note_replaces_the_old(self, held: HeldState, directory: StateDirectory) -> None:
        held.announce(URLS)
        held.announce(URLS[:1])
        assert list(directory.running().listening) == URLS[:1]

    def test_there_is_no_directory(self, directory: StateDirectory) -> None:
        with pytest.raises(StateError, match="no daemon is running on the state directory /"):
            directory.running()

    def test_the_daemon_has_not_announced_itself_yet(
        self, held: HeldState, directory: StateDirectory
    ) -> None:
        with pytest.raises(StateError, match="no daemon is running"):
            directory.running()

    def test_the_daemon_has_withdrawn(self, held: HeldState, directory: StateDirectory) -> None:
        held.announce(URLS)
        held.withdraw()
        with pytest.raises(StateError, match="no daemon is running"):
            directory.running()

    def test_closing_withdraws(self, directory: StateDirectory) -> None:
        held = directory.open_for_daemon()
        held.announce(URLS)
        held.close()
        assert not (directory.path / "listening.json").exists()

    def test_the_note_of_a_daemon_that_died_is_not_believed(
        self, held: HeldState, directory: StateDirectory, tmp_path: Path
    ) -> None:
        held.announce(URLS)
        left_over = (held.path / "listening.json").read_bytes()
        held.withdraw()
        (held.path / "listening.json").write_bytes(left_over)
        with pytest.raises(StateError, match="no daemon is running"):
            directory.running()

    def test_asking_does_not_disturb_a_daemon(
        self, held: HeldState, directory: StateDirectory
    ) -> None:
        held.announce(URLS)
        directory.running()
        directory.running()
        held.announce(URLS)
        directory.running()

    def test_a_note_that_somebody_removed(self, held: HeldState) -> None:
        held.announce(URLS)
        (held.path / "listening.json").unlink()
        held.withdraw()

    @pytest.mark.parametrize(
        "content", [b"", b"{}", b"[1]", b"\xff", b'{"pid":"1","listening":[]}']
    )
    def test_a_note_of_another_version(
        self, held: HeldState, directory: StateDirectory, content: bytes
    ) -> None:
        held.announce(URLS)
        # The same file, so that the daemon's lock is still on it.
        (held.path / "listening.json").write_bytes(content)
        with pytest.raises(StateError, match="was not written by this version of sockserv"):
            directory.running()

    def test_a_token_that_is_not_there(self, directory: StateDirectory) -> None:
        with pytest.raises(StateError, match="cannot read .*/owner-token: no such file or dir"):
            directory.owner_token()


class TestTheDiskFails:
    def test_the_note_cannot_be_written(self, held: HeldState) -> None:
        (held.path / "listening.json").mkdir()
        with pytest.raises(StateError, match=r"cannot write .*/listening.json: is a directory"):
            held.announce(URLS)

    def test_the_lock_cannot_be_opened(self, directory: StateDirectory) -> None:
        directory.path.mkdir(mode=0o700, parents=True)
        (directory.path / "lock").mkdir()
        with pytest.raises(StateError, match="cannot lock .*/lock: is a directory"):
            directory.open_for_daemon()
