"""The policy: from an identity and a command to what is run, or to why it is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from sockserv.execution.arguments import Command
from sockserv.execution.errors import Refused
from sockserv.execution.outcome import Explanation
from sockserv.execution.shown import in_one_line
from sockserv.execution.usage import CommandUsage
from sockserv.files.errors import FilesError
from sockserv.services.execution.child import Program
from sockserv.services.execution.deciding import Decision
from sockserv.services.execution.policy.accounts import AccountFacts, Accounts, SystemAccounts
from sockserv.services.execution.policy.commands import NamedCommand
from sockserv.services.execution.policy.configuration import Configuration
from sockserv.services.execution.policy.environment import own_environment
from sockserv.services.execution.policy.reach import warnings_about
from sockserv.services.execution.policy.rules import (
    ANY,
    SHELL,
    free_terms,
    no_rule,
    program_terms,
    rules_of,
    usages_of,
    why_allowed,
)
from sockserv.services.execution.policy.terms import Terms, refuse, smaller
from sockserv.services.execution.policy.validity import check_command
from sockserv.services.files.folders import Folder
from sockserv.services.threads import InThread
from sockserv.trust.identities import Identity

__all__ = ["ExecutionPolicy"]

_MAX_ARGV_BYTES: Final = 32 * 1024


class ExecutionPolicy:
    """Decides by the rules of `Identity.exec`.

    `configuration` gives what is said about commands now, `folder_of` the folder of an identity, from which the paths
    count that it gives to commands; without it, there are no paths. `accounts` are those of the machine; None looks for
    that of this process, and blocks. `time_zone` is the `TZ` that jobs are given, None for none.
    """

    def __init__(
        self,
        *,
        configuration: Callable[[], Configuration] = Configuration,
        folder_of: Callable[[Identity], Folder] | None = None,
        accounts: Accounts | None = None,
        time_zone: str | None = None,
    ) -> None:
        self._configuration = configuration
        self._folder_of = folder_of
        self._accounts = accounts or SystemAccounts()
        self._time_zone = time_zone

    async def decide(self, identity: Identity, command: Command, in_thread: InThread) -> Decision:
        """What is to be run for this command; see `Policy`."""
        check_command(command)
        configuration = self._configuration()
        terms = await self._terms(identity, command, configuration, in_thread)
        terms.check_streams(command)
        account = await self._account(terms, command, in_thread)
        if command.shell:
            # The shell is that of the account, which may need a thread to be known.
            terms = free_terms(terms.rule, command, terms.variables, account)
        return self._decision(identity, command, terms, account, configuration.set_variables)

    async def explain(
        self, identity: Identity, command: Command, in_thread: InThread
    ) -> Explanation:
        """What `decide` would say, and why; raises `InvalidArgument` only."""
        # First, so that nothing is asked for what nobody could run.
        check_command(command)
        warnings = await self._warnings(identity, in_thread)
        try:
            decision = await self.decide(identity, command, in_thread)
        except Refused as refused:
            rule, why = refused.details["rule"], refused.message
            return Explanation(allowed=False, rule=rule, why=why, warnings=warnings)
        return Explanation(
            allowed=True,
            rule=decision.rule,
            why=why_allowed(decision.rule, identity),
            argv=_told(decision.program.argv),
            warnings=warnings,
        )

    def usages(self, identity: Identity) -> Sequence[CommandUsage]:
        """What an identity may run, and how each of that is used."""
        configuration = self._configuration()
        return tuple(usages_of(rules_of(identity, configuration), configuration))

    async def _warnings(self, identity: Identity, in_thread: InThread) -> tuple[str, ...]:
        configuration = self._configuration()
        rules = rules_of(identity, configuration)
        folder = None
        if self._folder_of is not None:
            with suppress(FilesError):
                folder = self._folder_of(identity)
        own = self._accounts.own
        found: tuple[str, ...] = await in_thread(warnings_about, rules, configuration, own, folder)
        return found

    async def _terms(
        self,
        identity: Identity,
        command: Command,
        configuration: Configuration,
        in_thread: InThread,
    ) -> Terms:
        """The terms of the rule that fits. Raises `Refused` where none does, or it does not take the values."""
        rules = rules_of(identity, configuration)
        variables = configuration.allowed_variables
        if not command.shell:
            word = command.argv[0]
            named = configuration.commands.get(word) if word in rules else None
            if named is not None:
                return await self._named_terms(identity, command, named, in_thread)
            if word.startswith("/") and word in rules:
                return program_terms(word, command, variables)
            if ANY in rules:
                return free_terms(ANY, command, variables, self._accounts.own)
        if SHELL in rules:
            return free_terms(SHELL, command, variables, self._accounts.own)
        return no_rule(identity, rules, command, configuration)

    async def _named_terms(
        self, identity: Identity, command: Command, named: NamedCommand, in_thread: InThread
    ) -> Terms:
        given = named.check(command.argv[1:])
        if named.has_paths:
            if self._folder_of is None:
                refuse(named.name, "this server has no files, and so no paths")
            try:
                folder = self._folder_of(identity)
            except FilesError as error:
                refuse(named.name, f"a path counts from a folder, and {error}")
            given = await in_thread(named.resolve, given, folder)
        return named.terms(given)

    async def _account(self, terms: Terms, command: Command, in_thread: InThread) -> AccountFacts:
        """The account that the command runs as. Raises `Refused` where it cannot."""
        own = self._accounts.own
        name = terms.account(command)
        if name is None or name == own.name:
            return own
        if not self._accounts.can_change:
            refuse(terms.rule, f"this server runs as {own.name}, and can run nothing as {name!r}")
        try:
            facts: AccountFacts = await in_thread(self._accounts.named, name)
        except LookupError:
            refuse(terms.rule, f"there is no account {name!r} on this machine")
        return facts

    def _decision(
        self,
        identity: Identity,
        command: Command,
        terms: Terms,
        account: AccountFacts,
        set_variables: Mapping[str, str],
    ) -> Decision:
        terminal = command.terminal
        own = own_environment(
            account,
            identity=identity.name,
            terminal_type=None if terminal is None else terminal.type,
            time_zone=self._time_zone,
        )
        is_own = account is self._accounts.own
        return Decision(
            rule=terms.rule,
            program=Program(
                argv=terms.argv,
                environment=terms.environment({**own, **set_variables}, command),
                directory=terms.directory(command, account.home),
                account=None if is_own else account.account,
                limits=terms.bounds(command),
                nice=terms.priority(command),
                terminal=terminal,
            ),
            command=in_one_line(terms.argv if command.shell else command.argv),
            timeout_seconds=smaller(command.timeout_seconds, terms.timeout_seconds),
            output_limit_bytes=smaller(command.output_limit_bytes, terms.output_limit_bytes),
            takes_stdin=terms.takes_stdin or terminal is not None,
        )


def _told(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The words as they fit into an answer beside all else: cut where they are very long."""
    if len(msgspec.json.encode(argv)) <= _MAX_ARGV_BYTES:
        return argv
    words = [word if len(word) <= 200 else f"{word[:199]}…" for word in argv[:20]]
    return (*words, "…") if len(argv) > len(words) else tuple(words)
