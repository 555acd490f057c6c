"""`sockserv servers` and `logout`: what this account knows, without asking any server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result

from sockserv.client.profiles import Profile, Profiles
from sockserv.errors import ProfileError
from sockserv.urls import ServerUrl
from tests.cli.fakes import FakeTerminal, invoke

PIN = "sha256:" + "A" * 43
LAB = Profile(
    name="lab1",
    url=ServerUrl.parse(f"sockserv://192.0.2.1/?pin={PIN}&token=secret"),
    identity="alice",
)
HOME = Profile(name="家", url=ServerUrl.parse("tcp://localhost:1?token=secret"))


@pytest.fixture
def profiles(tmp_path: Path) -> Profiles:
    return Profiles.locate(environ={"SOCKSERV_CONFIG": str(tmp_path)})


def run(profiles: Profiles, *arguments: str, terminal: FakeTerminal | None = None) -> Result:
    return invoke(
        arguments, environ={"SOCKSERV_CONFIG": str(profiles.path.parent)}, terminal=terminal
    )


class TestServers:
    def test_for_people(self, profiles: Profiles) -> None:
        profiles.save(LAB)
        profiles.save(HOME)
        result = run(profiles, "servers")
        assert result.exception is None
        assert result.stdout.splitlines() == [
            "NAME  SERVER                     AS",
            "lab1  sockserv://192.0.2.1:7700  alice",
            "家    tcp://localhost:1",
        ]

    def test_for_programs(self, profiles: Profiles) -> None:
        profiles.save(LAB)
        (line,) = run(profiles, "servers", "--json").stdout.splitlines()
        assert json.loads(line) == {"name": "lab1", "url": str(LAB.url), "identity": "alice"}
        assert "secret" not in line

    def test_none(self, profiles: Profiles) -> None:
        result = run(profiles, "servers")
        assert (result.exception, result.stdout, result.stderr) == (None, "", "")
        result = run(profiles, "servers", terminal=FakeTerminal({2}))
        assert "`sockserv login` makes one known" in result.stderr

    def test_one_is_broken(self, profiles: Profiles) -> None:
        profiles.save(LAB)
        (profiles.path / "lab1.toml").rename(profiles.path / "lab2.toml")
        profiles.save(LAB)
        (profiles.path / "a b.toml").touch()
        result = run(profiles, "servers")
        assert [line.split()[0] for line in result.stdout.splitlines()] == ["NAME", "lab1", "lab2"]
        assert isinstance(result.exception, ProfileError)


class TestLogout:
    def test_it(self, profiles: Profiles) -> None:
        profiles.save(LAB)
        profiles.save(HOME)
        assert run(profiles, "logout", "lab1").stdout == "lab1 is forgotten\n"
        assert profiles.names() == ["家"]
        assert json.loads(run(profiles, "logout", "家", "--json").stdout) == {"removed": "家"}
        assert profiles.names() == []

    @pytest.mark.parametrize("name", ["lab1", "../lab1", "a b", "", "tcp://localhost:1"])
    def test_there_is_none(self, profiles: Profiles, name: str) -> None:
        profiles.save(HOME)
        assert isinstance(run(profiles, "logout", name).exception, ProfileError)
        assert profiles.names() == ["家"]
