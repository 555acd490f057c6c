"""What the property tests of the wire have in common."""

from __future__ import annotations

from hypothesis import settings

quick = settings(max_examples=40, deadline=None)
"""For properties that must not take long; the fuzzer (`tests.fuzz`) tries as many cases as one likes."""
