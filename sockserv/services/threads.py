"""Blocking work of services, in threads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

__all__ = ["InThread"]

InThread: TypeAlias = Callable[..., Awaitable[Any]]
"""Calls a blocking function with arguments in a thread; what it returns or raises can be awaited."""
