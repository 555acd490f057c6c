"""What is kept of servers, written by several processes at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sockserv.client.profiles import Profiles
from tests.client.test_profiles import LAB


def test_many_processes_write_the_same_one(tmp_path: Path) -> None:
    profiles = Profiles(tmp_path / "servers")
    profiles.save(LAB)
    program = (
        "import sys; from pathlib import Path; from tests.client.test_profiles import LAB, Profiles\n"
        "for _ in range(50): Profiles(Path(sys.argv[1])).save(LAB)"
    )
    command = [sys.executable, "-c", program, str(profiles.path)]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert profiles.load("lab1") == LAB
    assert os.listdir(profiles.path) == ["lab1.toml"]
