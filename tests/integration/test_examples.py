"""The examples, as a reader would run them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import DEADLINE_SECONDS, ROOT
from tests.testing.test_docs import PAGE, examples

EXAMPLES = ROOT / "examples"


def run(*arguments: str | Path, cwd: Path, environ: dict[str, str]) -> str:
    """The output of a Python program that ends well."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environ,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(("name", "max_lines"), [("embed.py", 39), ("test_embed.py", 19)])
def test_how_short_it_is(name: str, max_lines: int) -> None:
    assert len((EXAMPLES / name).read_text().splitlines()) <= max_lines


def test_an_application_with_a_service_of_its_own(tmp_path: Path, environ: dict[str, str]) -> None:
    output = run(EXAMPLES / "embed.py", cwd=tmp_path, environ=environ)
    assert re.fullmatch(r"(\d+\.\d\d \d+\.\d\d \d+\.\d\d\n){5}", output)


def pytest_run(path: Path, cwd: Path, environ: dict[str, str]) -> str:
    return run(
        *("-m", "pytest", "-p", "no:twisted", "-p", "no:cacheprovider", "-q"),
        f"--rootdir={cwd}",
        path,
        cwd=cwd,
        environ=environ,
    )


def test_its_test(tmp_path: Path, environ: dict[str, str]) -> None:
    assert "1 passed" in pytest_run(EXAMPLES / "test_embed.py", tmp_path, environ)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """The code of docs/testing.md as a module."""
    module = tmp_path / "test_weather.py"
    module.write_text(examples(PAGE), encoding="utf-8")
    return module


def test_the_page_about_testing_under_pytest(page: Path, environ: dict[str, str]) -> None:
    passed = re.search(r"(\d+) passed", pytest_run(page, page.parent, environ))
    assert passed is not None
    assert int(passed[1]) > 20


def test_the_page_about_testing_under_trial(page: Path, environ: dict[str, str]) -> None:
    output = run("-m", "twisted.trial", page.stem, cwd=page.parent, environ=environ)
    assert "PASSED (successes=1)" in output


def test_the_kit_needs_neither_hypothesis_nor_a_reactor(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    program = (
        "import sys; sys.modules['hypothesis'] = None; import sockserv.testing as kit; "
        "[getattr(kit, name) for name in kit.__all__]; "
        "print('twisted.internet.reactor' in sys.modules)"
    )
    assert run("-c", program, cwd=tmp_path, environ=environ) == "False\n"
