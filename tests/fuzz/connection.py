"""Fuzzing by hand: `python -m tests.fuzz.connection --seconds 600 --seed 1`.

A case depends on the seed, its target and its number alone. A failure says how to try it again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from itertools import count, islice
from random import Random

from tests.fuzz.targets import TARGETS

__all__ = ["attempt", "main"]


def attempt(target: str, seed: int, number: int) -> None:
    """Try one case; raises for one that breaks a promise, with a note on how to try it again."""
    try:
        TARGETS[target](Random(f"{target} {seed} {number}"))
    except BaseException as error:
        again = f"--target {target} --seed {seed} --case {number}"
        error.add_note(f"to try this again: python -m tests.fuzz.connection {again}")
        raise


def main(arguments: list[str] | None = None) -> None:
    """Try cases until the time is over."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.connection", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long; default: 60")
    parser.add_argument("--seed", type=int, default=1, help="default: 1")
    parser.add_argument("--target", choices=TARGETS, help="default: all, in turns")
    parser.add_argument("--case", type=int, help="only the case of this number")
    options = parser.parse_args(arguments)
    targets = [options.target] if options.target else list(TARGETS)
    end = time.monotonic() + options.seconds
    tried = 0
    for number in _numbers(options.case):
        for target in targets:
            attempt(target, options.seed, number)
            tried += 1
        if time.monotonic() >= end:
            break
    sys.stdout.write(f"{tried} cases of {', '.join(targets)}: nothing found\n")


def _numbers(case: int | None) -> Iterator[int]:
    return count() if case is None else islice(count(case), 1)


if __name__ == "__main__":
    main()
