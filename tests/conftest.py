"""What holds for all tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

# How long one case may take depends on the machine and on what else it does.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.fixture(autouse=True, scope="session")
def _the_reactor_stays_out(request: pytest.FixtureRequest) -> Iterator[None]:
    """No unit test, and nothing that one imports, takes the global reactor.

    The integration tests have it, from pytest-twisted.
    """
    yield
    if not request.config.pluginmanager.hasplugin("twisted"):
        assert "twisted.internet.reactor" not in sys.modules
