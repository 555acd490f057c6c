"""Changes to the identities by the daemon: what they do, and what they never undo."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sockserv.errors import AuthenticationFailed, InvalidArgument, PermissionDenied
from sockserv.trust.authentication import hash_token
from sockserv.trust.edited_file import EditedFileError
from sockserv.trust.grants import Grants
from sockserv.trust.identities import Identity, Login
from sockserv.trust.store import IdentityStore
from tests.test_atomic import files_of_at_most
from tests.trust.edited import OWNER_TOKEN, Edited

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ECHO = Grants(echo=True)
BROKEN = "[alice\n"


@pytest.fixture
def file(tmp_path: Path) -> Edited:
    return Edited(tmp_path / "identities.toml")


@pytest.fixture
def store(file: Edited) -> IdentityStore:
    return file.open()


def names(store: IdentityStore) -> list[str]:
    return [entry.name for entry in store.entries()[1:]]


def named(identity: Identity | None) -> str | None:
    return None if identity is None else identity.name


class TestInvite:
    def test_the_token_is_good_at_once_and_only_its_hash_is_kept(
        self, store: IdentityStore, file: Edited
    ) -> None:
        token = store.invite("alice", ECHO)
        assert len(token) == 43
        login = Login("token", f"token:{hash_token(token)[:8]}")
        assert store.by_token(token, NOW) == Identity("alice", frozenset({"echo"}), login=login)
        assert token not in file.path.read_text()
        assert hash_token(token) in file.path.read_text()

    def test_it_is_there_after_a_restart_and_nothing_else_is(
        self, store: IdentityStore, file: Edited
    ) -> None:
        token = store.invite("alice", ECHO)
        assert named(file.open().by_token(token, NOW)) == "alice"
        assert file.path.stat().st_mode & 0o777 == 0o600
        assert sorted(os.listdir(file.path.parent)) == ["identities.lock", "identities.toml"]

    def test_it_is_no_change_for_the_next_refresh(self, store: IdentityStore, file: Edited) -> None:
        store.invite("alice", ECHO)
        file.settle()
        assert not store.refresh()

    def test_it_may_expire(self, store: IdentityStore) -> None:
        token = store.invite("alice", ECHO, expires=NOW + timedelta(days=7))
        assert store.by_token(token, NOW + timedelta(days=6)) is not None
        with pytest.raises(AuthenticationFailed, match="has expired"):
            store.by_token(token, NOW + timedelta(days=7))
        assert store.expires_between(NOW, NOW + timedelta(days=7))
        assert not store.expires_between(NOW, NOW + timedelta(days=6))
        assert not store.expires_between(NOW + timedelta(days=7), NOW + timedelta(days=8))

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("alice", "there is somebody whose name is alice already"),
            ("owner", "name: the name owner is"),
            ("", "name: a name has"),
            ("a\nb", "name: a name has"),
        ],
    )
    def test_not_every_name(self, store: IdentityStore, name: str, message: str) -> None:
        store.invite("alice", ECHO)
        with pytest.raises(InvalidArgument, match=message):
            store.invite(name, ECHO)
        assert names(store) == ["alice"]


class TestAddToken:
    def test_both_are_good(self, store: IdentityStore) -> None:
        tokens = [store.invite("alice", ECHO), store.add_token("alice")]
        assert [named(store.by_token(token, NOW)) for token in tokens] == ["alice", "alice"]

    def test_nobody_of_this_name(self, store: IdentityStore) -> None:
        with pytest.raises(InvalidArgument, match="nobody whose name is"):
            store.add_token("alice")


class TestRevoke:
    def test_nothing_is_left(self, store: IdentityStore) -> None:
        token = store.invite("alice", ECHO)
        identity = store.by_token(token, NOW)
        assert identity is not None
        store.revoke("alice")
        assert store.by_token(token, NOW) is None
        assert store.current(identity, NOW) is None
        assert names(store) == []

    @pytest.mark.parametrize("name", ["alice", "owner", "", "\0"])
    def test_nobody_of_this_name(self, store: IdentityStore, name: str) -> None:
        with pytest.raises(InvalidArgument, match="nobody whose name is"):
            store.revoke(name)
        assert named(store.by_token(OWNER_TOKEN, NOW)) == "owner"

    def test_the_same_name_again_is_somebody_else(self, store: IdentityStore) -> None:
        before = store.by_token(store.invite("alice", ECHO), NOW)
        store.revoke("alice")
        store.invite("alice", ECHO)
        assert before is not None
        assert store.current(before, NOW) is None


class TestReplaceToken:
    def test_the_new_one_is_good_instead_of_the_old(self, store: IdentityStore) -> None:
        expires = NOW + timedelta(days=1)
        old = store.invite("alice", ECHO, expires=expires)
        before = store.by_token(old, NOW)
        assert before is not None
        after = store.replace_token(before, hash_token("new"))
        assert after == store.by_token("new", NOW)
        assert store.by_token(old, NOW) is None
        assert store.current(before, NOW) is None
        assert store.current(after, NOW) is after
        with pytest.raises(AuthenticationFailed, match="expired"):
            store.by_token("new", expires)

    def test_twice_the_same(self, store: IdentityStore) -> None:
        identity = store.by_token(store.invite("alice", ECHO), NOW)
        assert identity is not None
        store.replace_token(identity, hash_token("new"))
        with pytest.raises(PermissionDenied, match="no token that can be replaced"):
            store.replace_token(identity, hash_token("newer"))

    @pytest.mark.parametrize(
        "sha256", ["", "x" * 64, "A" * 64, "0" * 63, "0" * 65, "0" * 64 + "\n"]
    )
    def test_what_is_no_hash(self, store: IdentityStore, sha256: str) -> None:
        identity = store.by_token(store.invite("alice", ECHO), NOW)
        assert identity is not None
        with pytest.raises(InvalidArgument, match="sha256: expected 64 hexadecimal digits"):
            store.replace_token(identity, sha256)

    def test_the_hash_of_somebody_elses_token(self, store: IdentityStore) -> None:
        others = store.invite("bob", ECHO)
        identity = store.by_token(store.invite("alice", ECHO), NOW)
        assert identity is not None
        for token in (others, OWNER_TOKEN):
            with pytest.raises(InvalidArgument, match="sha256: make another token"):
                store.replace_token(identity, hash_token(token))
        assert named(store.by_token(others, NOW)) == "bob"
        assert store.current(identity, NOW) is identity

    def test_a_hash_that_could_not_be_told_from_another(self, store: IdentityStore) -> None:
        token = store.invite("alice", ECHO)
        identity = store.by_token(token, NOW)
        assert identity is not None
        with pytest.raises(InvalidArgument, match="sha256: make another token"):
            store.replace_token(identity, hash_token(token)[:8] + "0" * 56)

    def test_the_owners_stands_elsewhere(self, store: IdentityStore) -> None:
        for owner in (store.by_token(OWNER_TOKEN, NOW), store.by_uid(500)):
            assert owner is not None
            with pytest.raises(PermissionDenied, match="no token that can be replaced"):
                store.replace_token(owner, hash_token("new"))

    def test_whoever_did_not_log_in(self, store: IdentityStore) -> None:
        with pytest.raises(PermissionDenied, match="no token that can be replaced"):
            store.replace_token(Identity("alice"), hash_token("new"))


EDITS = pytest.mark.parametrize(
    "edit",
    [
        lambda store: store.invite("bob", ECHO),
        lambda store: store.add_token("alice"),
        lambda store: store.revoke("alice"),
    ],
    ids=["invite", "add_token", "revoke"],
)

Edit = Callable[[IdentityStore], object]


class TestOthersEditToo:
    def test_what_a_person_has_written_in_between_stays(
        self, store: IdentityStore, file: Edited
    ) -> None:
        store.invite("alice", ECHO)
        file.write(file.path.read_text() + "\n# by hand\n[bob]\nuids = [7]\n")
        store.invite("carol", ECHO)
        assert names(store) == ["alice", "bob", "carol"]
        assert named(store.by_uid(7)) == "bob"
        assert "# by hand\n" in file.path.read_text()

    @EDITS
    def test_a_file_that_is_broken_is_not_touched(
        self, store: IdentityStore, file: Edited, edit: Edit
    ) -> None:
        store.invite("alice", ECHO)
        file.write(BROKEN)
        with pytest.raises(EditedFileError, match="identities.toml line 1: is not TOML"):
            edit(store)
        assert file.path.read_text() == BROKEN
        assert names(store) == ["alice"]

    @EDITS
    def test_a_file_that_is_being_written_is_not_touched(
        self, store: IdentityStore, file: Edited, edit: Edit
    ) -> None:
        """The editor has emptied it, and not written it again yet."""
        store.invite("alice", ECHO)
        file.write("")
        file.seconds -= 10
        with pytest.raises(EditedFileError, match="is being edited: try again"):
            edit(store)
        assert file.path.read_text() == ""

    @EDITS
    def test_a_file_that_is_gone_is_not_made_again(
        self, store: IdentityStore, file: Edited, edit: Edit
    ) -> None:
        store.invite("alice", ECHO)
        file.path.unlink()
        with pytest.raises(EditedFileError, match="cannot be read: no such file"):
            edit(store)
        assert not file.path.exists()

    @EDITS
    def test_another_program_has_the_lock(
        self, store: IdentityStore, file: Edited, edit: Edit
    ) -> None:
        store.invite("alice", ECHO)
        other = file.open()
        with (
            other._file.locked(),
            pytest.raises(EditedFileError, match="another program has locked identities.toml"),
        ):
            edit(store)
        assert names(store) == ["alice"]

    def test_a_change_while_it_is_written_wins(self, store: IdentityStore, file: Edited) -> None:
        disk = store._file
        before = disk.signature()
        file.write("# mine\n")
        with pytest.raises(EditedFileError, match="was changed by somebody else just now"):
            disk.write("# yours\n", instead_of=before)
        assert file.path.read_text() == "# mine\n"
        assert "identities.toml.new" not in os.listdir(file.path.parent)

    def test_what_replaces_it_right_after_is_noticed(
        self, store: IdentityStore, file: Edited
    ) -> None:
        store.invite("alice", ECHO)
        written = file.path.read_text()
        file.path.rename(file.path.with_suffix(".old"))
        file.write(written.replace("alice", "carol"))
        assert store.refresh()
        assert names(store) == ["carol"]

    def test_two_stores_lose_nothing(self, store: IdentityStore, file: Edited) -> None:
        other = file.open()
        store.invite("alice", ECHO)
        file.settle()
        other.invite("bob", ECHO)
        assert names(file.open()) == ["alice", "bob"]

    @EDITS
    def test_a_full_disk(self, store: IdentityStore, file: Edited, edit: Edit) -> None:
        store.invite("alice", ECHO)
        before = file.path.read_text()
        with (
            files_of_at_most(50),
            pytest.raises(EditedFileError, match="cannot be written: file too large"),
        ):
            edit(store)
        assert file.path.read_text() == before
        assert names(store) == ["alice"]
        assert "identities.toml.new" not in os.listdir(file.path.parent)

    def test_many_at_once(self, store: IdentityStore, file: Edited) -> None:
        def live(number: int) -> str:
            token = store.invite(f"guest{number}", ECHO)
            identity = store.by_token(token, NOW)
            assert identity is not None
            store.replace_token(identity, hash_token(f"new {number}"))
            if number % 2:
                store.revoke(f"guest{number}")
            store.refresh()
            return token

        with ThreadPoolExecutor(8) as threads:
            tokens = list(threads.map(live, range(24)))
        expected = {f"guest{number}" for number in range(0, 24, 2)}
        for each in (store, file.open()):
            assert set(names(each)) == expected
            assert not any(each.by_token(token, NOW) for token in tokens)
            assert {named(each.by_token(f"new {n}", NOW)) for n in range(24)} == {None, *expected}


def test_no_error_and_no_repr_has_a_token_or_its_hash(store: IdentityStore) -> None:
    token = store.invite("alice", ECHO)
    shown = f"{store!r} {store.entries()!r} {store._known!r}"
    assert token not in shown
    assert hash_token(token) not in shown
