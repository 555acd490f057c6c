"""Digests that are known already."""

from __future__ import annotations

import os
from pathlib import Path

from sockserv.services.files.cache import DigestCache

NOW_NS = 2_000_000_000 * 10**9


def status_of(tmp_path: Path, name: str) -> os.stat_result:
    path = tmp_path / name
    path.touch()
    return path.stat()


def test_what_is_known(tmp_path: Path) -> None:
    cache = DigestCache(now_ns=lambda: NOW_NS)
    status = status_of(tmp_path, "a")
    assert cache.find(status) is None
    cache.learn_read(status, "blake3:1")
    cache.learn_read(status, "md5:1", "md5")
    assert (cache.find(status), cache.find(status, "md5")) == ("blake3:1", "md5:1")
    assert cache.find(status, "sha256") is None
    assert cache.find(status_of(tmp_path, "b")) is None


def test_the_ones_used_last_are_kept(tmp_path: Path) -> None:
    cache = DigestCache(now_ns=lambda: NOW_NS, max_digests=2)
    a, b, c = (status_of(tmp_path, name) for name in "abc")
    cache.learn_written(a, "1")
    cache.learn_written(b, "2")
    cache.find(a)
    cache.learn_written(c, "3")
    assert [cache.find(each) for each in (a, b, c)] == ["1", None, "3"]


def test_what_was_just_changed_may_change_again_unnoticed(tmp_path: Path) -> None:
    status = status_of(tmp_path, "a")
    for now_ns, is_kept in (
        (status.st_ctime_ns + 2 * 10**9, False),
        (status.st_ctime_ns + 2 * 10**9 + 1, True),
    ):
        cache = DigestCache(now_ns=lambda now_ns=now_ns: now_ns)  # type: ignore[misc]
        cache.learn_read(status, "1")
        assert (cache.find(status) == "1") is is_kept
        cache.learn_written(status, "1")
        assert cache.find(status) == "1"
