"""The identities of a file: who holds a credential, and what becomes of that when the file changes."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sockserv.errors import AuthenticationFailed
from sockserv.trust.authentication import hash_token
from sockserv.trust.edited_file import EditedFileError
from sockserv.trust.identities import EVERYTHING, Identity, Login
from sockserv.trust.origin import PeerCertificate
from sockserv.trust.store import IdentityStore
from tests.trust.edited import OWNER_TOKEN, Edited, no_more_files

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PIN = "sha256:" + "A" * 43
OTHER_PIN = "sha256:" + "B" * 42 + "A"

ALICE = f"""
[alice]
echo = true
tokens = [
    {{ sha256 = "{hash_token("forever")}" }},
    {{ sha256 = "{hash_token("short")}", expires = 2026-01-01T00:00:00Z }},
]
certificates = ["{PIN}"]
certificate_names = ["Alice.Example.org"]
uids = [1000]
password = true
"""


@pytest.fixture
def file(tmp_path: Path) -> Edited:
    return Edited(tmp_path / "identities.toml")


class TestLookingUp:
    @pytest.fixture
    def store(self, file: Edited) -> IdentityStore:
        file.write(ALICE)
        return file.open()

    @pytest.mark.parametrize(
        ("look_up", "login"),
        [
            (
                lambda store: store.by_token("forever", NOW),
                Login("token", f"token:{hash_token('forever')[:8]}"),
            ),
            (
                lambda store: store.by_certificate(PeerCertificate(PIN)),
                Login("certificate", f"certificate:{PIN}"),
            ),
            (
                lambda store: store.by_certificate(
                    PeerCertificate(OTHER_PIN, ("x", "aLice.example.ORG"), is_trusted=True)
                ),
                Login("certificate", "certificate-name:alice.example.org"),
            ),
            (lambda store: store.by_uid(1000), Login("uid", "uid:1000")),
            (lambda store: store.by_name("alice"), Login("password", "password")),
        ],
        ids=["token", "pin", "name in a certificate", "uid", "password"],
    )
    def test_a_credential(
        self, store: IdentityStore, look_up: Callable[[IdentityStore], Identity], login: Login
    ) -> None:
        found = look_up(store)
        assert found == Identity("alice", frozenset({"echo"}), login=login)
        assert store.current(found, NOW) is found

    def test_nobody_holds_what_is_not_in_the_file(self, store: IdentityStore) -> None:
        assert store.by_token("", NOW) is None
        assert store.by_token(hash_token("forever"), NOW) is None
        assert store.by_certificate(PeerCertificate(OTHER_PIN)) is None
        assert store.by_uid(1001) is None
        assert store.by_name("bob") is None
        assert store.by_name("\0" * 100) is None

    def test_a_name_counts_only_where_an_authority_has_signed_it(
        self, store: IdentityStore
    ) -> None:
        names = ("alice.example.org",)
        assert store.by_certificate(PeerCertificate(OTHER_PIN, names)) is None

    def test_a_name_that_looks_like_a_pin_is_none(self, store: IdentityStore) -> None:
        assert store.by_certificate(PeerCertificate(OTHER_PIN, (PIN,), is_trusted=True)) is None

    def test_a_token_is_good_until_it_expires(self, store: IdentityStore) -> None:
        just_before = NOW - timedelta(microseconds=1)
        found = store.by_token("short", just_before)
        assert found is not None
        assert store.current(found, just_before) is found
        assert store.current(found, NOW) is None
        with pytest.raises(AuthenticationFailed, match="has expired"):
            store.by_token("short", NOW)

    def test_the_owner(self, store: IdentityStore) -> None:
        by_token = store.by_token(OWNER_TOKEN, NOW)
        by_uid = store.by_uid(500)
        everything = frozenset({EVERYTHING})
        assert by_token == Identity("owner", everything, login=Login("token", "owner-token"))
        assert by_uid == Identity("owner", everything, login=Login("uid", "uid:500"))
        assert store.by_name("owner") is None

    def test_somebody_who_did_not_log_in_is_nobody(self, store: IdentityStore) -> None:
        assert store.current(Identity("alice"), NOW) is None
        assert store.current(Identity("alice", login=Login("password", "x")), NOW) is None

    def test_names_of_two_identities_in_one_certificate(self, file: Edited) -> None:
        file.write('[a]\ncertificate_names = ["a.org", "b.org"]\n[c]\ncertificate_names=["c.org"]')
        store = file.open()
        both = PeerCertificate(PIN, ("a.org", "b.org", "z.org"), is_trusted=True)
        found = store.by_certificate(both)
        assert found is not None
        assert found.name == "a"
        with pytest.raises(AuthenticationFailed, match="several identities"):
            store.by_certificate(PeerCertificate(PIN, ("a.org", "c.org"), is_trusted=True))


class TestReading:
    def test_there_is_a_file_that_explains_itself(self, file: Edited) -> None:
        store = file.open()
        assert "# [alice]" in file.path.read_text()
        assert file.path.stat().st_mode & 0o777 == 0o600
        assert [entry.name for entry in store.entries()] == ["owner"]

    def test_the_example_in_it_is_right(self, file: Edited) -> None:
        file.open()
        example = file.path.read_text().partition("#\n")[2].replace("# ", "")
        file.write(example)
        assert [entry.name for entry in file.open().entries()] == ["owner", "alice"]

    def test_a_change_is_read_once(self, file: Edited) -> None:
        file.write(ALICE)
        store = file.open()
        assert not store.refresh()
        file.write(ALICE.replace("alice]", "bob]"))
        assert store.refresh()
        assert not store.refresh()
        found = store.by_uid(1000)
        assert found is not None
        assert found.name == "bob"

    def test_a_file_that_was_written_a_moment_ago_is_left_for_later(self, file: Edited) -> None:
        file.write(ALICE)
        store = file.open()
        file.write("")
        file.seconds -= 9.6
        assert not store.refresh()
        assert store.by_uid(1000) is not None
        file.seconds += 0.2
        assert store.refresh()
        assert store.by_uid(1000) is None

    def test_a_file_from_the_future_is_read(self, file: Edited) -> None:
        file.write(ALICE)
        store = file.open()
        file.write("")
        file.seconds -= 1000
        assert store.refresh()

    def test_a_broken_change_is_told_once_and_changes_nothing(self, file: Edited) -> None:
        file.write(ALICE)
        store = file.open()
        file.write("[alice\n")
        with pytest.raises(EditedFileError, match="identities.toml line 1: is not TOML"):
            store.refresh()
        assert not store.refresh()
        assert store.by_uid(1000) is not None
        file.write("")
        assert store.refresh()
        assert store.by_uid(1000) is None

    def test_a_change_that_the_system_did_not_let_us_read_is_read_later(self, file: Edited) -> None:
        """Whoever was revoked while strangers held all the open files that there may be stays out."""
        file.write(ALICE)
        store = file.open()
        file.write("")
        for _ in range(2):
            with no_more_files(), pytest.raises(EditedFileError, match="too many open files"):
                store.refresh()
        assert store.by_uid(1000) is not None
        assert store.refresh()
        assert store.by_uid(1000) is None

    def test_a_mode_that_is_mended_is_noticed(self, file: Edited) -> None:
        file.write("")
        store = file.open()
        file.write(ALICE)
        file.path.chmod(0o640)
        with pytest.raises(EditedFileError, match=r"\(mode 0640\): close it with `chmod 600 /"):
            store.refresh()
        file.path.chmod(0o600)
        assert store.refresh()

    def test_a_file_that_is_gone_changes_nothing(self, file: Edited) -> None:
        file.write(ALICE)
        store = file.open()
        file.path.unlink()
        with pytest.raises(EditedFileError, match="cannot be read: no such file"):
            store.refresh()
        assert not store.refresh()
        assert store.by_uid(1000) is not None


class TestRefusals:
    """What a daemon does not start with."""

    def test_a_file_that_others_can_read(self, file: Edited) -> None:
        file.write("")
        file.path.chmod(0o604)
        with pytest.raises(EditedFileError, match=r"\(mode 0604\): close it with `chmod 600 /"):
            file.open()

    def test_a_link(self, file: Edited, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").touch(0o600)
        file.path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(EditedFileError, match="cannot be read: too many levels of symbolic"):
            file.open()

    def test_a_pipe_does_not_make_it_wait(self, file: Edited) -> None:
        os.mkfifo(file.path, 0o600)
        with pytest.raises(EditedFileError, match="is not a file"):
            file.open()

    def test_a_directory(self, file: Edited) -> None:
        file.path.mkdir(0o700)
        with pytest.raises(EditedFileError, match="cannot be read: is a directory"):
            file.open()

    def test_a_file_that_is_no_text(self, file: Edited) -> None:
        file.path.write_bytes(b"# one\n# \xff\n")
        file.path.chmod(0o600)
        with pytest.raises(EditedFileError, match="identities.toml line 2: is not UTF-8 text"):
            file.open()

    def test_a_file_without_end(self, file: Edited) -> None:
        file.write("")
        os.truncate(file.path, 16 * 1024 * 1024 + 1)
        with pytest.raises(EditedFileError, match="has more than 16777216 bytes"):
            file.open()

    def test_a_directory_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(EditedFileError, match="cannot be written: no such file or directory"):
            IdentityStore(tmp_path / "nowhere" / "identities.toml")
