"""Transfers between real TCP on a network that is bad, or goes away: they go on, and end whole."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import DEADLINE_SECONDS, Twistd, start_process, until
from tests.integration.test_cli import SOCKSERV, environment
from tests.integration.wide_area import SERVER_ADDRESS, WideArea, wide_area

MIB = 1024 * 1024


class Far:
    """A daemon at the other end of a network, and the command at this end, in a folder of its own."""

    def __init__(self, network: WideArea, folder: Path) -> None:
        self.network = network
        self.here = folder / "here"
        self.here.mkdir()
        self.state = folder / "state"
        self.stored = self.state / "files"
        with network.inside(network.server_side):
            # Elsewhere than on this machine nothing is served without TLS.
            self.daemon = Twistd(
                folder,
                *("--listen", f"tls:0:interface={SERVER_ADDRESS}", "--state", str(self.state)),
                environ=environment(),
            )
        self.daemon.wait_until_listening(self.state)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        with self.network.inside(self.network.client_side):
            return start_process(
                [*SOCKSERV, *arguments],
                env=environment(SOCKSERV_STATE=str(self.state)),
                cwd=self.here,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )

    def run(self, *arguments: str) -> str:
        """What the command prints; it must succeed."""
        return self.end(self.start(*arguments))

    def end(self, process: subprocess.Popen[str]) -> str:
        output, errors = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 0, errors + output + self.daemon.errors
        return output

    def partial_bytes(self) -> int:
        """How much there is at the server of what is not complete."""
        return sum(each.stat().st_size for each in self.stored.glob(".sockserv-partial-*"))

    def make(self, name: str, size: int) -> bytes:
        content = random.Random(name).randbytes(size)
        path = self.here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return content


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    with wide_area() as network:
        it = Far(network, tmp_path)
        yield it
        it.daemon.process.kill()
        it.daemon.wait()


def test_a_network_that_loses_and_reorders(far: Far) -> None:
    far.network.loss, far.network.delay_seconds = 0.02, 0.004
    content = far.make("large", 2 * MIB)
    far.run("put", "large")
    far.run("get", "large", "back")
    assert (far.here / "back").read_bytes() == (far.stored / "large").read_bytes() == content
    small = {f"照片/{number}": far.make(f"tree/照片/{number}", 3000) for number in range(60)}
    far.run("sync", "tree", "tree")
    far.run("sync", "--pull", "pulled", "tree")
    for name, expected in small.items():
        assert (far.stored / "tree" / name).read_bytes() == expected
        assert (far.here / "pulled" / name).read_bytes() == expected
    assert far.network.lost_packets > 20


@pytest.mark.parametrize("command", ["put", "get"])
def test_a_network_that_is_away_for_a_while(far: Far, command: str) -> None:
    far.network.delay_seconds = 0.01
    content = far.make("large", 24 * MIB)
    if command == "get":
        far.stored.mkdir(exist_ok=True)  # it is made at its first use
        os.replace(far.here / "large", far.stored / "large")
    process = far.start(command, "large")
    before = far.network.carried_packets
    until(lambda: far.network.carried_packets > before + 2000)
    far.network.is_cut = True
    time.sleep(1.5)
    assert process.poll() is None
    far.network.is_cut = False
    far.end(process)
    assert (far.stored / "large").read_bytes() == (far.here / "large").read_bytes() == content


def test_giving_up_while_the_network_is_away(far: Far) -> None:
    far.network.delay_seconds = 0.01
    content = far.make("large", 24 * MIB)
    process = far.start("put", "large")
    until(lambda: far.partial_bytes() > 4 * MIB)
    far.network.is_cut = True
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == -signal.SIGINT, errors
    assert not (far.stored / "large").exists()
    kept = far.partial_bytes()
    far.network.is_cut = False
    # The daemon hears only now that the first connection has ended.
    summary = json.loads(far.run("put", "--json", "large").splitlines()[-1])
    assert (far.stored / "large").read_bytes() == content
    assert summary["sent_bytes"] <= len(content) - kept
    assert far.partial_bytes() == 0
