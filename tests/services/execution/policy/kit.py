"""What the tests of the policy have in common: accounts that are not those of this machine, and questions."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import attrs
import pytest
from twisted.internet.defer import Deferred, execute

from sockserv.execution.arguments import Command
from sockserv.execution.errors import Refused
from sockserv.execution.outcome import Explanation
from sockserv.services.execution.child import Account
from sockserv.services.execution.deciding import Decision
from sockserv.services.execution.policy import ExecutionPolicy
from sockserv.services.execution.policy.accounts import AccountFacts
from sockserv.trust.identities import EVERYTHING, Identity

T = TypeVar("T")

OWN = AccountFacts(
    name="lab", account=Account(1000, 1000, (1000, 27)), home="/home/lab", shell="/bin/zsh"
)
GUEST = AccountFacts(
    name="guest", account=Account(1001, 1001, (1001,)), home="/home/guest", shell="/bin/bash"
)
OWNER = Identity("owner", frozenset({EVERYTHING}))


@attrs.define
class FakeAccounts:
    """Two accounts; `looked` are the names that were looked for."""

    can_change: bool = False
    own: AccountFacts = OWN
    looked: list[str] = attrs.field(factory=list)

    def named(self, name: str) -> AccountFacts:
        self.looked.append(name)
        return {each.name: each for each in (OWN, GUEST)}[name]


def alice(*rules: str) -> Identity:
    return Identity("alice", frozenset({"exec"}), exec=rules)


def in_thread(function: Callable[..., T], *args: Any) -> Deferred[T]:
    return execute(function, *args)


def result_of(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns or raises that has nothing to wait for."""
    outcomes: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(outcomes.append)
    (outcome,) = outcomes
    if hasattr(outcome, "raiseException"):
        outcome.raiseException()
    result: T = outcome
    return result


@attrs.frozen
class Asked:
    """A policy, for questions of one identity."""

    identity: Identity
    policy: ExecutionPolicy = attrs.field(factory=lambda: ExecutionPolicy(accounts=FakeAccounts()))

    def decide(self, *argv: str, **more: Any) -> Decision:
        command = Command(argv=argv, **more)
        return result_of(self.policy.decide(self.identity, command, in_thread))

    def explain(self, *argv: str, **more: Any) -> Explanation:
        command = Command(argv=argv, **more)
        return result_of(self.policy.explain(self.identity, command, in_thread))

    def refusal(self, *argv: str, **more: Any) -> tuple[str, str]:
        """The rule that refuses the command, and why; `explain` has to say the same."""
        with pytest.raises(Refused) as caught:
            self.decide(*argv, **more)
        rule = caught.value.details["rule"]
        explanation = self.explain(*argv, **more)
        assert not explanation.allowed
        assert explanation.argv is None
        assert (explanation.rule, explanation.why) == (rule, str(caught.value))
        return rule, str(caught.value)
