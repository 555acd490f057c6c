"""Which rule of an identity fits a command.

The first one that fits decides, and what it refuses no other one is asked about: a named command by its name, a program
by its path, `any`, `shell`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NoReturn

from sockserv.execution.arguments import Command
from sockserv.execution.usage import CommandUsage
from sockserv.services.execution.policy.accounts import DEFAULT_SHELL, AccountFacts
from sockserv.services.execution.policy.configuration import Configuration
from sockserv.services.execution.policy.environment import Names
from sockserv.services.execution.policy.terms import NO_RULE, Latitude, Terms, refuse
from sockserv.trust.identities import EVERYTHING, Identity

__all__ = [
    "ANY",
    "SHELL",
    "free_terms",
    "no_rule",
    "program_terms",
    "rules_of",
    "still_allows",
    "usages_of",
    "why_allowed",
]

ANY: Final = "any"
"""Allows every program, with any arguments."""
SHELL: Final = "shell"
"""Allows what `any` does, and texts for the shell."""

_MAX_TOLD: Final = 20


def rules_of(identity: Identity, configuration: Configuration) -> tuple[str, ...]:
    """The rules that an identity was given; for who may do everything those of the owner, all unless said."""
    if EVERYTHING not in identity.permissions or identity.exec:
        return identity.exec
    rules = configuration.owner_rules
    return (ANY, SHELL, *configuration.commands) if rules is None else rules


def still_allows(identity: Identity, rule: str) -> bool:
    """Whether what runs by a rule may go on for its owner as they are now: they have that rule, or one that allows
    more.
    """
    rules = identity.exec
    if EVERYTHING in identity.permissions and not rules:
        return True
    return identity.may("exec") and (rule in rules or (SHELL in rules and rule == ANY))


def program_terms(path: str, command: Command, variables: Names) -> Terms:
    """The terms of a program by its path, with any arguments."""
    return Terms(
        rule=path,
        argv=command.argv,
        latitude=Latitude.CIRCUMSTANCES,
        variables=variables,
    )


def free_terms(rule: str, command: Command, variables: Names, account: AccountFacts) -> Terms:
    """The terms of `any` and `shell`; `account` is the one that has the shell."""
    argv = _shell_words(command, account) if command.shell else command.argv
    return Terms(rule=rule, argv=argv, latitude=Latitude.EVERYTHING, variables=variables)


def _shell_words(command: Command, account: AccountFacts) -> tuple[str, ...]:
    if command.argv:
        # One that begins with a dash is no option.
        return (DEFAULT_SHELL, "-c", "--", command.argv[0])
    if command.terminal is not None:
        return (account.shell, "-l")
    return (DEFAULT_SHELL, "-s")


def no_rule(
    identity: Identity, rules: tuple[str, ...], command: Command, configuration: Configuration
) -> NoReturn:
    """Raises `Refused`: none of the rules fits; says what would."""
    told = ", ".join(rules[:_MAX_TOLD]) + (", ..." if len(rules) > _MAX_TOLD else "")
    if not rules:
        refuse(NO_RULE, f"{identity.name} has no rule by which anything could be run")
    if command.shell:
        refuse(NO_RULE, f"{identity.name} may run nothing in a shell; what may be run is {told}")
    word = command.argv[0]
    if word in rules and not word.startswith("/") and word not in configuration.commands:
        refuse(
            NO_RULE,
            f"{identity.name} may run {word}, but this server has no command of this name: it has to be written in "
            "commands.toml",
        )
    near = next(
        (rule for rule in rules if rule.startswith("/") and rule.endswith(f"/{word}")), None
    )
    if near is not None:
        refuse(
            NO_RULE, f"{word} is not looked for: write {near}, as the rule of {identity.name} does"
        )
    refuse(NO_RULE, f"no rule of {identity.name} allows {word[:200]!r}; what may be run is {told}")


def why_allowed(rule: str, identity: Identity) -> str:
    """Why a rule that fits allows what was asked for."""
    if rule == ANY:
        return f"{identity.name} may run every program"
    if rule == SHELL:
        return f"{identity.name} may run every program, and every text in a shell"
    if rule.startswith("/"):
        return f"{identity.name} may run {rule} with any arguments"
    return f"{identity.name} may run the command {rule}, which takes these values"


def usages_of(rules: tuple[str, ...], configuration: Configuration) -> Iterator[CommandUsage]:
    """What the rules allow; nothing for a command that is not there."""
    for rule in rules:
        if rule == ANY:
            usage = "PROGRAM [ARGUMENT]..."
            yield CommandUsage(rule=rule, usage=usage, description="Any program")
        elif rule == SHELL:
            description = "Any program, and any text in a shell"
            yield CommandUsage(rule=rule, usage="--shell TEXT", description=description)
        elif rule.startswith("/"):
            yield CommandUsage(rule=rule, usage=f"{rule} [ARGUMENT]...")
        elif rule in configuration.commands:
            yield configuration.commands[rule].as_usage()
