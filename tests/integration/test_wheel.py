"""What is built is what somebody gets: the wheel, made from the source archive, in an empty environment."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT

DEADLINE_SECONDS = 240.0


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command outside of the checkout and of what is set up for it; gives its output."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command,
        check=False,
        cwd=cwd,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", out, ROOT, cwd=out)
    (wheel,) = out.glob("*.whl")
    assert len(list(out.glob("*.tar.gz"))) == 1
    return wheel


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands in an environment that has the wheel, and nothing that it does not ask for."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder)
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", folder, "--quiet"]
    # Python compiles what is imported, which is a small part of what is installed.
    run(*pip, "--disable-pip-version-check", "install", "--no-compile", wheel, cwd=folder)
    return folder / "bin"


def test_what_is_in_it(wheel: Path) -> None:
    """Every module, the mark that it is typed, the plugin, and nothing in Twisted's way."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "sockserv").rglob("*.py")}
    assert names == modules | {"sockserv/py.typed", "twisted/plugins/sockserv_plugin.py"}


def test_twistd_lists_it(programs: Path, tmp_path: Path) -> None:
    lines = run(programs / "twistd", "--help", cwd=tmp_path).splitlines()
    assert "sockserv" in [line.split()[0] for line in lines if line.strip()]


def test_twistd_runs_it(programs: Path, tmp_path: Path) -> None:
    assert "--listen" in run(programs / "twistd", "sockserv", "--help", cwd=tmp_path)


@pytest.mark.parametrize("command", [["sockserv"], ["python", "-m", "sockserv"]])
def test_the_command_is_there(programs: Path, tmp_path: Path, command: list[str]) -> None:
    assert "ping" in run(programs / command[0], *command[1:], "--help", cwd=tmp_path)
