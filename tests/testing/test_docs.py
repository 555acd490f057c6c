"""docs/testing.md: every example on the page runs."""

from __future__ import annotations

import re
import sys
import unittest
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "testing.md"


def examples(page: Path) -> str:
    """The Python of the page, as one module, with the page's own line numbers."""
    lines = []
    is_code = False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            is_code = line == "```python"
            line = ""
        lines.append(line if is_code else "")
    return "\n".join(lines) + "\n"


def module_of(page: Path) -> ModuleType:
    module = ModuleType(f"examples_of_{page.stem}")
    sys.modules[module.__name__] = module
    exec(compile(examples(page), str(page), "exec"), module.__dict__)
    return module


def named_tests(module: ModuleType) -> Iterator[tuple[str, Callable[[], object]]]:
    for name, value in vars(module).items():
        if name.startswith("test_"):
            yield name, value
        elif isinstance(value, type) and value.__module__ == module.__name__:
            for attribute in dir(value):
                if attribute.startswith("test_"):
                    yield f"{name}.{attribute}", partial(run_method, value, attribute)


def run_method(cls: type, name: str) -> None:
    if issubclass(cls, unittest.TestCase):
        result = unittest.TestResult()
        cls(name).run(result)
        assert result.testsRun == 1
        assert result.wasSuccessful(), result
    else:
        getattr(cls(), name)()


TESTS = dict(named_tests(module_of(PAGE)))


@pytest.mark.parametrize("name", TESTS)
def test_the_example_runs(name: str) -> None:
    TESTS[name]()


def test_no_example_is_passed_over() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(re.findall(r"^def test_|^    def test_", text, re.MULTILINE)) == sum(
        not name.startswith("TestWeather.") for name in TESTS
    )
    assert "TestWeather.test_a_slow_reader_pauses_the_source" in TESTS
