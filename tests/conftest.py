"""What holds for all tests."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from twisted.logger import globalLogBeginner

# How long one case may take depends on the machine and on what else it does. `make unit` takes "brief", `make test`
# does not. To look longer: pytest --hypothesis-profile=thorough
for _name, _examples in (("brief", 10), ("quick", 40), ("thorough", 1000)):
    settings.register_profile(
        _name,
        deadline=None,
        max_examples=_examples,
        suppress_health_check=[HealthCheck.too_slow],
    )
settings.load_profile("quick")

_MEMORY = Path("/dev/shm")

# Until somebody wants them Twisted keeps all events, and with them the connections of all tests.
globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)


@pytest.fixture(autouse=True, scope="session")
def _the_reactor_stays_out(request: pytest.FixtureRequest) -> Iterator[None]:
    """No unit test, and nothing that one imports, takes the global reactor.

    The integration tests have it, from pytest-twisted.
    """
    yield
    if not request.config.pluginmanager.hasplugin("twisted"):
        assert "twisted.internet.reactor" not in sys.modules


def _is_good_for_folders(memory: Path) -> bool:
    with suppress(FileNotFoundError):
        may_run_programs = not os.statvfs(memory).f_flag & os.ST_NOEXEC
        return may_run_programs and os.access(memory, os.W_OK)
    return False


def pytest_configure(config: pytest.Config) -> None:
    """Folders of tests are in memory, but for those of the integration tests: the others would only wait for a disk."""
    if not config.pluginmanager.hasplugin("twisted") and _is_good_for_folders(_MEMORY):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))
    _ignore_no_signals()


def _ignore_no_signals() -> None:
    """Who runs the tests in the background may ignore signals, and what the tests start would inherit that.

    A handler does not outlive the start of another program, not even one that does nothing.
    """
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def pytest_collection_finish() -> None:
    """What has been imported and collected stays, and need not be looked through for garbage again."""
    gc.collect()
    gc.freeze()
