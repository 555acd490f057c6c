"""Asking what one may run."""

from __future__ import annotations

import msgspec
import pytest

from sockserv.errors import PermissionDenied
from sockserv.execution.usage import CommandUsage
from sockserv.services.execution.policy import ExecutionPolicy
from sockserv.services.execution.policy.configuration import parse_configuration
from sockserv.services.execution.policy.service import Rules
from sockserv.testing import Example, MemoryServer, ServiceConformance
from sockserv.trust.identities import Identity
from tests.services.execution.policy.kit import FakeAccounts, alice

COMMANDS = """
[commands.flash]
description = "Write an image"
argv = ["/usr/bin/flash", "{port}"]
parameters.port = { type = "integer", min = 0, max = 7 }
"""


def rules() -> Rules:
    configuration = parse_configuration(COMMANDS, file="commands.toml")
    return Rules(ExecutionPolicy(configuration=lambda: configuration, accounts=FakeAccounts()))


class TestRules(ServiceConformance):
    examples = (Example("exec.commands"),)

    def make_service(self) -> Rules:
        return rules()


def usages(identity: Identity) -> list[CommandUsage]:
    with MemoryServer([rules()]) as memory:
        body = memory.run(memory.connect(identity).call("exec.commands")).body
    return [msgspec.json.decode(line, type=CommandUsage) for line in body.splitlines()]


def test_everybody_is_told_what_they_may() -> None:
    assert [usage.rule for usage in usages(alice("flash", "/bin/df"))] == ["flash", "/bin/df"]
    (flash,) = usages(alice("flash"))
    assert flash.usage == "flash PORT"
    assert flash.description == "Write an image"
    assert flash.parameters[0].takes == "a whole number from 0 to 7"


def test_who_may_run_nothing_is_told_nothing() -> None:
    with pytest.raises(PermissionDenied):
        usages(Identity("bob"))
