"""Many connections at once, and one more than that."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import DEADLINE_SECONDS, until
from tests.integration.raw_client import RawClient, WatchedDaemon

Watch = Callable[..., WatchedDaemon]

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="what a process takes is read from /proc"
)

WANTED = 10_000
AT_ONCE = 500
SPARE_DESCRIPTORS = 200


@pytest.fixture
def possible() -> Iterator[int]:
    """How many of the wanted connections the system's limits allow, at each end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard - SPARE_DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def log_in_many(daemon: WatchedDaemon, count: int) -> list[RawClient]:
    clients: list[RawClient] = []
    while len(clients) < count:
        batch = [daemon.connect() for _ in range(min(AT_ONCE, count - len(clients)))]
        for client in batch:
            client.greet()
            client.start_login(daemon.token)
        for client in batch:
            assert client.receive()["result"] == {"identity": "owner"}
        clients += batch
    return clients


def test_ten_thousand_idle_connections(
    watch: Watch,
    possible: int,
    record_property: Callable[[str, object], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    # They answer no pings, and a busy machine may take long to let all of them in.
    daemon = watch("limits.keepalive_interval_seconds = 600")
    # What the first ones need once does not count.
    first = log_in_many(daemon, AT_ONCE)
    rss_before, descriptors = daemon.rss_bytes, daemon.descriptors
    crowd = log_in_many(daemon, possible - AT_ONCE)
    grown_bytes = daemon.rss_bytes - rss_before
    assert daemon.descriptors == descriptors + len(crowd)
    latencies = [client.echo(b"are you there?") for client in (first[0], crowd[0], crowd[-1])]
    with daemon.log_in() as late:
        latencies.append(late.echo(b"and for me?"))
    bytes_each = grown_bytes // len(crowd)
    record_property("connections", possible)
    record_property("bytes_each", bytes_each)
    with capsys.disabled():
        print(  # noqa: T201 -- how many there were is to be said aloud
            f"\n{possible} idle connections ({WANTED} were wanted), {bytes_each} bytes of the "
            f"daemon's memory each, an echo among them took {max(latencies) * 1000:.1f} ms"
        )
    # A bound for the sane; `python -m benchmarks idle` measures it.
    assert bytes_each < 10 * 1024
    for client in first + crowd:
        client.close()
    until(lambda: daemon.descriptors <= descriptors - AT_ONCE)


def test_a_burst_of_connections_is_not_kept_waiting(watch: Watch) -> None:
    daemon = watch()
    daemon.pause()
    # Of one for whom there is no room the system tries again after a second.
    burst = [daemon.connect(timeout_seconds=0.5) for _ in range(120)]
    daemon.resume()
    for client in burst:
        client.socket.settimeout(DEADLINE_SECONDS)
    assert all(client.receive()["type"] == "hello" for client in burst)


def test_as_many_connections_as_there_may_be(watch: Watch) -> None:
    daemon = watch("limits.max_connections = 5")
    clients = [daemon.log_in() for _ in range(4)]
    # One that has not logged in counts as well.
    clients.append(daemon.connect())
    assert clients[-1].receive()["type"] == "hello"
    for _ in range(3):
        with daemon.connect() as refused:
            assert refused.receive_goodbye() == "too-many-connections"
    assert all(client.is_alive() for client in clients[:4])
    clients.pop().close()
    until(lambda: can_log_in(daemon))
    lines = [line for line in daemon.twistd.output.splitlines() if "refused" in line]
    # The first and the second, and perhaps the first of those that came too early just now.
    assert ["1 in a row" in line for line in lines[:2]] == [True, False]
    assert all("5 connections are open, which is the limit" in line for line in lines)


def can_log_in(daemon: WatchedDaemon) -> bool:
    with daemon.connect() as client:
        if client.receive()["type"] == "goodbye":
            return False
        client.send({"type": "hello", "version": 1})
        client.start_login(daemon.token)
        return "result" in client.receive().header


def test_as_many_logins_waited_for_as_there_may_be(watch: Watch) -> None:
    daemon = watch("limits.max_unauthenticated_connections = 3")
    members = [daemon.log_in() for _ in range(5)]
    waiting = [daemon.connect() for _ in range(3)]
    for client in waiting:
        client.greet()
    with daemon.connect() as refused:
        assert refused.receive_goodbye() == "too-many-connections"
    # Who has logged in makes room.
    waiting[0].start_login(daemon.token)
    assert "result" in waiting[0].receive().header
    assert can_log_in(daemon)
    with daemon.connect() as fills:
        assert fills.receive()["type"] == "hello"
        with daemon.connect() as refused:
            assert refused.receive_goodbye() == "too-many-connections"
    assert all(member.is_alive() for member in members)
    assert "3 connections wait for a login, which is the limit" in daemon.twistd.output
    # And so does who goes away.
    waiting[1].close()
    until(lambda: can_log_in(daemon))
