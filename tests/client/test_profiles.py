"""Profiles: what is stored of a login, under which names, and what may go wrong with the files."""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import pytest

from sockserv.client.profiles import Profile, Profiles, check_name, usual_name
from sockserv.errors import ProfileError, UnknownServer
from sockserv.urls import ServerUrl
from tests.test_atomic import files_of_at_most

PIN = "sha256:" + "A" * 43
TOKEN = "t" * 43
URL = ServerUrl.parse(f"sockserv://lab.example.org/?pin={PIN}&token={TOKEN}")
LAB = Profile(name="lab1", url=URL, identity="alice", next_token="n" * 43)


@pytest.fixture
def profiles(tmp_path: Path) -> Profiles:
    return Profiles(tmp_path / "config" / "servers")


PROFILES = [
    LAB,
    attrs.evolve(LAB, name="实验室-1", identity="王小明"),
    attrs.evolve(LAB, identity=None, next_token=None, url=attrs.evolve(URL, token=None)),
    attrs.evolve(LAB, user='a "quoted" \\ user', next_token=None),
    attrs.evolve(LAB, url=ServerUrl.parse("unix:///a%20b/%ff?token=x")),
    attrs.evolve(LAB, url=ServerUrl.parse("tcp://[::1]:1?token=x")),
]


@pytest.mark.parametrize("profile", PROFILES, ids=range(len(PROFILES)))
def test_what_was_saved_is_loaded(profiles: Profiles, profile: Profile) -> None:
    assert profiles.save(profile)
    assert profiles.load(profile.name) == profile
    assert profiles.names() == [profile.name]


@pytest.mark.parametrize(
    ("profile", "has_one"),
    [
        (LAB, True),
        (attrs.evolve(LAB, next_token=None), True),
        (attrs.evolve(LAB, url=attrs.evolve(URL, token=None), user="al", next_token=None), False),
    ],
    ids=["two tokens", "a token", "a password"],
)
def test_it_speaks_of_a_token_where_it_has_one(
    profiles: Profiles, profile: Profile, has_one: bool
) -> None:
    profiles.save(profile)
    text = (profiles.path / "lab1.toml").read_text()
    assert text.startswith("# Written by `sockserv login`; `sockserv logout lab1` removes it.\n")
    assert ("# Whoever has the token has the permissions" in text) is has_one


def test_nobody_else_may_read_it(profiles: Profiles) -> None:
    before = os.umask(0)
    try:
        profiles.save(LAB)
    finally:
        os.umask(before)
    assert profiles.path.stat().st_mode & 0o777 == 0o700
    assert profiles.path.parent.stat().st_mode & 0o777 == 0o700
    assert (profiles.path / "lab1.toml").stat().st_mode & 0o777 == 0o600


def test_no_representation_shows_a_token() -> None:
    assert TOKEN not in repr(LAB)
    assert "nnn" not in repr(LAB)


def test_one_that_others_can_read_is_refused(profiles: Profiles) -> None:
    profiles.save(LAB)
    path = profiles.path / "lab1.toml"
    path.chmod(0o640)
    with pytest.raises(
        ProfileError, match=rf"others can read .* \(mode 0640\).*`chmod 600 {path}`"
    ):
        profiles.load("lab1")


def test_one_that_cannot_be_read(profiles: Profiles) -> None:
    (profiles.path / "lab1.toml").mkdir(parents=True)
    with pytest.raises(ProfileError, match="cannot read .*lab1.toml: is a directory"):
        profiles.load("lab1")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "url: is missing"),
        (b"url = ", "Invalid value"),
        (b"\xff", "can't decode byte"),
        (b"url = 3", "url: expected str, got int"),
        (b'url = "http://a"', "'http://a' is not the URL of a server"),
        (b'url = "tcp://a:1"\ntokken = "x"', "did you mean token?"),
        (b"a = " + b"[" * 10_000, "recursion depth"),
    ],
)
def test_one_that_is_broken(profiles: Profiles, content: bytes, problem: str) -> None:
    profiles.path.mkdir(parents=True)
    path = profiles.path / "lab1.toml"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(ProfileError) as caught:
        profiles.load("lab1")
    assert problem in str(caught.value)
    assert "`sockserv logout lab1`" in str(caught.value)
    profiles.remove("lab1")
    assert profiles.names() == []


def test_there_is_none(profiles: Profiles) -> None:
    for use in (profiles.load, profiles.remove):
        with pytest.raises(UnknownServer, match="no server is known as lab1: `sockserv login`"):
            use("lab1")
    assert profiles.names() == []
    # To look does not make anything.
    assert not profiles.path.exists()
    profiles.save(attrs.evolve(LAB, name="lab2"))
    profiles.save(attrs.evolve(LAB, name="lab3"))
    known = "no server is known as lab1: known are lab2, lab3"
    with pytest.raises(ProfileError, match=f"^{known}; a URL begins with sockserv://$"):
        profiles.load("lab1")
    # Nobody who forgets a server means a URL.
    with pytest.raises(ProfileError, match=f"^{known}$"):
        profiles.remove("lab1")


def test_only_profiles_count(profiles: Profiles) -> None:
    profiles.save(LAB)
    for name in ("notes.txt", "lab2.toml.new", ".lab3.toml"):
        (profiles.path / name).touch()
    assert profiles.names() == ["lab1"]


def test_a_full_disk_leaves_what_was_there(profiles: Profiles) -> None:
    profiles.save(LAB)
    with files_of_at_most(100), pytest.raises(ProfileError, match="cannot write .*too large"):
        profiles.save(attrs.evolve(LAB, next_token=None))
    assert profiles.load("lab1") == LAB
    assert os.listdir(profiles.path) == ["lab1.toml"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ProfileError, match="cannot make .*/file/servers: "):
        Profiles(tmp_path / "file" / "servers").save(LAB)


def test_a_folder_that_cannot_be_looked_at(tmp_path: Path) -> None:
    profiles = Profiles(tmp_path / ("x" * 300))
    for use in (profiles.load, profiles.remove, lambda _: profiles.names()):
        with pytest.raises(ProfileError, match="cannot read .*: file name too long"):
            use("lab1")


def test_whoever_was_slower_does_not_undo_what_somebody_else_has_done(profiles: Profiles) -> None:
    profiles.save(LAB)
    newer = attrs.evolve(LAB, user="bob")
    profiles.save(newer)
    assert not profiles.save(attrs.evolve(LAB, next_token=None), instead_of=LAB)
    assert profiles.load("lab1") == newer
    profiles.remove("lab1")
    assert not profiles.save(attrs.evolve(LAB, next_token=None), instead_of=LAB)
    assert profiles.names() == []


def test_where_they_are(tmp_path: Path) -> None:
    assert Profiles.locate(environ={"SOCKSERV_CONFIG": "/c"}).path == Path("/c/servers")
    assert Profiles.locate(environ={"SOCKSERV_CONFIG": "c"}).path == Path.cwd() / "c/servers"
    usual = Profiles.locate(environ={}).path
    assert usual.name == "servers"
    assert usual.parent.name == "sockserv"
    assert usual.is_absolute()


class TestNames:
    @pytest.mark.parametrize(
        "name", ["a", "lab1", "alice@lab.example-1_x", "实验室", "9", "नमस्ते", "x" * 64, "实" * 64]
    )
    def test_what_is_one(self, name: str) -> None:
        assert check_name(name) == name

    def test_what_looks_the_same_is_the_same(self) -> None:
        assert check_name("cafe\u0301") == check_name("caf\u00e9") == "caf\u00e9"

    @pytest.mark.parametrize(
        "name",
        ["", ".", "..", ".a", "-a", "a b", "a/b", "../a", "a\0", "a\n", "a:b", "a$(b)", "\u202ea", "\ud800", "\u0301"],
    )  # fmt: skip
    def test_what_is_none(self, name: str, profiles: Profiles) -> None:
        with pytest.raises(ProfileError, match="is not a name for a server: up to 64 letters"):
            check_name(name)
        for use in (profiles.load, profiles.remove):
            with pytest.raises(ProfileError, match="no server is known as "):
                use(name)

    @pytest.mark.parametrize(
        "name",
        [
            "lab.example.org:7700/?token=hidden",
            "sockserv:/lab/?token=hidden",
            "tcp://lab:7700/#hidden",
            "me:hidden@lab/",
            f"lab/{'hidden' * 8}",
        ],
    )
    def test_an_invitation_in_the_place_of_one_keeps_its_token(
        self, name: str, profiles: Profiles
    ) -> None:
        for use in (check_name, profiles.load, profiles.remove):
            with pytest.raises(ProfileError) as caught:
                use(name)
            assert "hidden" not in str(caught.value)

    @pytest.mark.parametrize("name", ["x" * 65, "𠀀" * 49])
    def test_what_is_too_long_for_one(self, name: str) -> None:
        with pytest.raises(ProfileError):
            check_name(name)

    @pytest.mark.parametrize(
        ("url", "name"),
        [
            ("sockserv://lab.example.org", "lab.example.org"),
            ("sockserv://192.0.2.1:7701", "192.0.2.1-7701"),
            ("sockserv://[fd00::5]", "fd00--5"),
            ("sockserv://[::1]", None),
            ("unix:///run/s", None),
            ("tcp://localhost:1", "localhost-1"),
        ],
    )
    def test_the_usual_one(self, url: str, name: str | None) -> None:
        assert usual_name(ServerUrl.parse(url)) == name
