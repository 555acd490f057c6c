"""`sockserv config check`: good files, wrong files, no file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sockserv.errors import ConfigError
from tests.cli.fakes import invoke

GOOD = """
listen = ["tcp:7701:interface=127.0.0.1", "unix:s.sock"]
state = "my state"
[limits]
max_calls = 7
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my settings.toml"
    path.write_text(GOOD)
    return path


def test_a_good_file(file: Path) -> None:
    result = invoke(["config", "check", str(file)])
    assert result.exception is None
    folder = file.parent
    assert result.stdout == (
        f"{file}: ok\n"
        f"  listens on tcp://127.0.0.1:7701, unix://{folder}/s.sock\n"
        f"  state in {folder}/my state\n"
        "  limits.max_calls = 7\n"
    )


def test_what_is_said_of_files(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('[files]\nroot = "served here"\nquota_bytes = 10\n')
    shown = invoke(["config", "check", str(file)]).stdout
    assert shown.endswith(f"  files.root = {tmp_path}/served here\n  files.quota_bytes = 10\n")
    files = json.loads(invoke(["config", "check", str(file), "--json"]).stdout)["files"]
    assert (files["root"], files["quota_bytes"]) == (f"{tmp_path}/served here", 10)


def test_for_programs(file: Path) -> None:
    result = invoke(["config", "check", str(file), "--json"])
    values = json.loads(result.stdout)
    assert values["limits"].pop("max_calls") == 7
    assert values["limits"].pop("window_bytes") == 1024 * 1024
    del values["limits"]
    assert values.pop("audit")["on_failure"] == "refuse"
    assert values.pop("files")["quota_bytes"] is None
    for table in ("exec", "kept", "chat"):
        assert values.pop(table)
    assert values == {
        "file": str(file),
        "listen": ["tcp://127.0.0.1:7701", f"unix://{file.parent}/s.sock"],
        "state": f"{file.parent}/my state",
        "besides": {},
    }


def test_what_is_spoken_besides(file: Path) -> None:
    file.write_text(
        '[classic]\nexec = "tcp:9001:interface=127.0.0.1"\nchat = "udp:9002"\nidentity = "a"\n'
        '[chat]\ndatagrams = "udp:7700"\nmax_devices = 5\n[exec]\nmax_jobs = 3\n'
    )
    shown = invoke(["config", "check", str(file), "--state", "/s"]).stdout
    assert shown == (
        f"{file}: ok\n"
        "  listens on tcp://127.0.0.1:7700\n"
        "  classic exec on tcp://127.0.0.1:9001\n"
        "  classic chat on udp:9002:interface=127.0.0.1\n"
        "  chat on udp:7700:interface=127.0.0.1\n"
        "  state in /s\n"
        "  exec.max_jobs = 3\n"
        "  chat.max_devices = 5\n"
    )


def test_without_a_file(tmp_path: Path) -> None:
    result = invoke(["config", "check", "--state", str(tmp_path)])
    assert result.stdout == (
        f"without a file: ok\n  listens on tcp://127.0.0.1:7700\n  state in {tmp_path}\n"
    )


@pytest.mark.parametrize("how", ["option", "environment"])
def test_what_comes_before_the_file_is_shown(file: Path, how: str) -> None:
    arguments = ["--state", "/s"] if how == "option" else []
    environ = {"SOCKSERV_STATE": "/s"} if how == "environment" else {}
    result = invoke(["config", "check", str(file), *arguments], environ=environ)
    assert "  state in /s\n" in result.stdout


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("listen = 3", "listen: expected array, got int"),
        (
            "[limits]\nmax_cals = 3",
            "limits.max_cals: there is no such setting; did you mean max_calls?",
        ),
        (
            '[classic]\nexec = "tcp:9001:interface=127.0.0.1"',
            "the classic dialect exec needs somebody on whose behalf it is spoken: "
            "--classic-identity NAME, or identity in [classic]",
        ),
        (
            "# fine\na b",
            "is not TOML: Expected '=' after a key in a key/value pair (at line 2, column 3)",
        ),
    ],
)
def test_a_wrong_file(file: Path, content: str, message: str) -> None:
    file.write_text(content)
    error = invoke(["config", "check", str(file)]).exception
    assert isinstance(error, ConfigError)
    assert str(error) == f"{file}: {message}"


def test_the_environment_does_not_hide_a_mistake(file: Path) -> None:
    file.write_text('state = ""')
    result = invoke(["config", "check", str(file)], environ={"SOCKSERV_STATE": "/s"})
    assert isinstance(result.exception, ConfigError)
