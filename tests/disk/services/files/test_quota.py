"""How much may be in a folder, and how fast it may come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sockserv.files.errors import NoSpace, QuotaExceeded
from sockserv.services.files.quota import Quota
from sockserv.testing import OWNER
from sockserv.trust import FilesAccess, Identity
from tests.disk.services.files.kit import BIG, FilesServer, digest, somebody
from tests.disk.services.files.test_put import break_off, finish, kept, start

WHO = somebody(FilesAccess.READ_WRITE)
QUOTA_BYTES = 1_000_000


@pytest.fixture
def files(tmp_path: Path) -> Iterator[FilesServer]:
    with FilesServer(tmp_path / "files", quota_bytes=QUOTA_BYTES) as server:
        yield server


def usage(files: FilesServer, who: Identity = WHO) -> Any:
    files.memory.advance(2)
    return files.call("usage", who=who).result


def test_at_the_limit_and_one_past_it(files: FilesServer) -> None:
    files.put("a", bytes(QUOTA_BYTES - 10), who=WHO)
    with pytest.raises(QuotaExceeded) as caught:
        files.put("b", bytes(11), who=WHO)
    assert caught.value.details == {"quota_bytes": QUOTA_BYTES, "used_bytes": QUOTA_BYTES - 10}
    files.put("b", bytes(10), who=WHO)
    files.put("c", b"", who=WHO)
    assert usage(files)["used_bytes"] == usage(files)["quota_bytes"] == QUOTA_BYTES
    assert usage(files)["free_bytes"] > 0


def test_what_is_on_its_way_counts(files: FilesServer) -> None:
    first = start(files, "a", bytes(600_000), who=WHO)
    with pytest.raises(QuotaExceeded):
        files.stream("b", bytes(500_000), who=WHO)
    assert usage(files)["used_bytes"] == 600_000
    finish(files, first, bytes(600_000))
    assert usage(files)["used_bytes"] == 600_000
    files.stream("b", bytes(400_000), who=WHO)
    assert usage(files)["used_bytes"] == QUOTA_BYTES


def test_an_unknown_size_counts_as_it_comes(files: FilesServer) -> None:
    with pytest.raises(QuotaExceeded):
        files.stream("a", bytes(QUOTA_BYTES + 1), who=WHO, size=None)
    assert files.names() == []
    files.stream("a", bytes(QUOTA_BYTES), who=WHO, size=None)
    assert usage(files)["used_bytes"] == QUOTA_BYTES


def test_many_at_once_do_not_get_past_it(files: FilesServer) -> None:
    calls = []
    for number in range(20):
        try:
            call = start(files, str(number), BIG, who=WHO)
            files.memory.flush()
            calls.append(call)
        except QuotaExceeded:
            break
    outcomes = []
    for call in calls:
        try:
            finish(files, call)
            outcomes.append(True)
        except QuotaExceeded:
            outcomes.append(False)
    assert sum(outcomes) == QUOTA_BYTES // len(BIG)
    assert usage(files)["used_bytes"] <= QUOTA_BYTES


def test_what_broke_off_counts_until_it_goes_on(files: FilesServer) -> None:
    content = bytes(800_000)
    break_off(files, 700_000, content, who=WHO)
    assert usage(files)["used_bytes"] == 700_000
    with pytest.raises(QuotaExceeded):
        files.put("b", bytes(300_001), who=WHO)
    assert kept(files, who=WHO)["offset"] == 700_000
    files.stream("a", content, who=WHO, upload="x", offset=700_000)
    assert usage(files)["used_bytes"] == 800_000


def test_what_is_removed_makes_room_at_once(files: FilesServer) -> None:
    files.put("a", bytes(QUOTA_BYTES), who=WHO)
    files.call("remove", {"path": "a"}, who=WHO)
    files.put("a", bytes(QUOTA_BYTES), who=WHO)
    with pytest.raises(QuotaExceeded):
        files.put("a", bytes(QUOTA_BYTES), who=WHO, overwrite="always")
    files.put("b", b"", who=WHO)
    files.call("move", {"source": "b", "target": "a", "overwrite": "always"}, who=WHO)
    files.put("b", bytes(QUOTA_BYTES), who=WHO)


def test_what_others_do_is_noticed(files: FilesServer) -> None:
    files.put("a", bytes(QUOTA_BYTES), who=WHO)
    (files.root / "a").unlink()
    files.memory.advance(2)
    files.put("a", bytes(QUOTA_BYTES), who=WHO)
    (files.root / "b").write_bytes(bytes(10))
    (files.root / "a").write_bytes(bytes(10))
    files.memory.advance(61)
    with pytest.raises(QuotaExceeded):
        files.put("c", bytes(QUOTA_BYTES - 19), who=WHO)
    files.put("c", bytes(QUOTA_BYTES - 20), who=WHO)


def test_each_folder_has_its_own_and_the_owner_none(files: FilesServer) -> None:
    alice, bob = (
        somebody(FilesAccess.READ_WRITE, root=name, name=name) for name in ("alice", "bob")
    )
    same = somebody(FilesAccess.DROP, root="./alice/", name="carol")
    for who in (alice, bob):
        files.put("a", bytes(QUOTA_BYTES), who=who)
    with pytest.raises(QuotaExceeded):
        files.put("b", b"1", who=same)
    files.put("big", bytes(2 * QUOTA_BYTES))
    result = usage(files, who=OWNER)
    assert (result["used_bytes"], result["quota_bytes"]) == (4 * QUOTA_BYTES, None)


def test_more_than_the_disk_has(files: FilesServer) -> None:
    with pytest.raises(NoSpace):
        files.put("a", b"", size=2**53 - 1)
    assert files.names() == []


class TestMeasuring:
    def quota(self, sizes: list[int], seconds: list[float]) -> Quota:
        return Quota(100, lambda: sizes.pop(0), seconds=lambda: seconds[0])

    def test_it_is_done_now_and_then(self) -> None:
        sizes, seconds = [10, 20], [0.0]
        quota = self.quota(sizes, seconds)
        for seconds[0] in (0.0, 30.0, 59.0):
            with quota.reservation() as room:
                room.cover(50, is_all=True)
        assert sizes == [20]
        seconds[0] = 60.0
        assert quota.used() == 20

    def test_one_that_takes_long_is_done_seldom(self) -> None:
        seconds = [0.0]
        times = []

        def measure() -> int:
            times.append(seconds[0])
            seconds[0] += 10
            return 0

        quota = Quota(100, measure, seconds=lambda: seconds[0])
        for _ in range(40):
            with quota.reservation() as room:
                room.cover(1)
            seconds[0] += 10
        assert times == [0.0, 210.0]

    @pytest.mark.parametrize("ask", ["reserve", "used"])
    def test_nor_oftener_for_who_says_that_there_is_less(self, ask: str) -> None:
        """Each waits for it in a thread, of which all others have need, too."""
        seconds = [0.0]
        times = []

        def measure() -> int:
            times.append(seconds[0])
            seconds[0] += 10
            return 100

        quota = Quota(100, measure, seconds=lambda: seconds[0])
        for _ in range(100):
            quota.shrink()
            if ask == "used":
                assert quota.used() == 100
            else:
                with pytest.raises(QuotaExceeded):
                    quota.reserve(1)
            seconds[0] += 1
        assert times == [0.0, 50.0, 100.0]

    def test_who_is_refused_often_does_not_have_it_done_often(self) -> None:
        sizes, seconds = [100] * 20, [0.0]
        quota = self.quota(sizes, seconds)
        for _ in range(50):
            with pytest.raises(QuotaExceeded), quota.reservation() as room:
                room.cover(1, is_all=True)
            seconds[0] += 0.1
        assert 20 - len(sizes) in (5, 6)

    def test_without_a_quota_nothing_is_done(self) -> None:
        def measure() -> int:
            raise AssertionError("nobody wants to know")

        quota = Quota(None, measure, seconds=lambda: 0.0)
        with quota.reservation() as room:
            room.cover(2**60)


class TestPace:
    @pytest.fixture
    def files(self, tmp_path: Path) -> Iterator[FilesServer]:
        with FilesServer(tmp_path / "files", rate_bytes_per_second=100_000) as server:
            yield server

    def seconds(self, files: FilesServer, do: Callable[[], object]) -> float:
        before = files.memory.clock.seconds()
        do()
        return files.memory.clock.seconds() - before

    @pytest.mark.parametrize("size", [1000, 300_000, 3_000_000])
    def test_what_comes_and_what_goes(self, files: FilesServer, size: int) -> None:
        content = bytes(size)
        args = {"path": "a", "size": size, "digest": digest(content)}
        for op, body in (("put", content), ("get", b"")):
            took = self.seconds(
                files,
                lambda op=op, body=body: files.call(  # type: ignore[misc]
                    op, args if body else {"path": "a"}, body, who=WHO, max_seconds=100
                ),
            )
            assert size / 100_000 <= took <= size / 100_000 + 12

    def test_calls_share_it(self, files: FilesServer) -> None:
        files.put("a", bytes(100_000))
        client = files.client(WHO)
        calls = [client.call("files.get", {"path": "a"}) for _ in range(10)]

        def wait() -> None:
            for call in calls:
                files.memory.run(call, max_seconds=30)

        assert 10 <= self.seconds(files, wait) <= 12

    def test_not_for_the_owner(self, files: FilesServer) -> None:
        assert self.seconds(files, lambda: files.put("a", bytes(10**6))) == 0
