"""Who may run what: the rules that an identity was given, and what exactly is run by each of them.

A rule says all of how a command is run. What it says nothing about, nobody outside can choose.
"""

from sockserv.services.execution.policy.accounts import Accounts, SystemAccounts
from sockserv.services.execution.policy.policy import ExecutionPolicy

__all__ = ["Accounts", "ExecutionPolicy", "SystemAccounts"]
