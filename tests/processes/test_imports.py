"""What runs beside the daemon starts in some milliseconds, and without the packages that are installed."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from sockserv import processes

MODULES = sorted(Path(processes.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_it_imports_the_standard_library_and_itself(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(str(node.module))
    ours = {name for name in imported if name.startswith("sockserv.processes.")}
    assert {name.split(".")[0] for name in imported - ours} <= sys.stdlib_module_names
