"""What a daemon serves, and when it is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet.testing import MemoryReactorClock

from sockserv.daemon.services import DaemonServices
from sockserv.errors import Unavailable
from sockserv.net.threads import OneThread
from sockserv.services import Service
from sockserv.services.late import LateServices
from sockserv.settings import load
from sockserv.trust.store import IdentityStore, owner_entry


def services_of(tmp_path: Path) -> DaemonServices:
    reactor = MemoryReactorClock()
    settings = load(state=str(tmp_path), environ={})
    return DaemonServices(
        reactor,
        settings,
        IdentityStore(tmp_path / "identities.toml", owner=owner_entry("x", uid=0)),
        cast(Any, None),  # an audit log, which nobody writes to here
        urls=lambda: [],
        on_change=lambda: None,
        identities_thread=OneThread(cast(Any, reactor)),
        open_files=64,
    )


def made(tmp_path: Path) -> list[tuple[tuple[str, ...], list[Service]]]:
    """All services that come late, with the prefixes that they come for."""
    offered = services_of(tmp_path).open()
    return [(each.prefixes, [*each.make()]) for each in offered if isinstance(each, LateServices)]


def test_each_operation_has_the_prefix_by_which_its_service_is_found(tmp_path: Path) -> None:
    found = made(tmp_path)
    for prefixes, services in found:
        for service in services:
            assert all(name.startswith(prefixes) for name in service.operations())
    every_prefix = [prefix for prefixes, _ in found for prefix in prefixes]
    assert sorted(every_prefix) == ["admin.", "chat.", "exec.", "files.", "identity."]


def test_no_operation_is_there_twice(tmp_path: Path) -> None:
    names = [
        name
        for _, services in made(tmp_path)
        for service in services
        for name in service.operations()
    ]
    assert len(names) == len(set(names)) > 30


def test_jobs_that_were_kept_are_looked_for_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "jobs" / "alice").mkdir(parents=True)
    late = [each for each in services_of(tmp_path).open() if isinstance(each, LateServices)]
    assert ("exec.",) not in [each.prefixes for each in late]


def test_nothing_is_made_for_a_call_that_comes_at_the_end(tmp_path: Path) -> None:
    services = services_of(tmp_path)
    offered = services.open()
    services.end_calls()
    for each in offered:
        if isinstance(each, LateServices):
            with pytest.raises(Unavailable, match="the server is stopping"):
                each.make()
