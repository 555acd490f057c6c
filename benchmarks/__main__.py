"""`python -m benchmarks NAME`: run one benchmark, or all; the exit status says if targets are met."""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import click
import twisted

from benchmarks.clients.load import Waiting
from benchmarks.options import Options
from benchmarks.processes import BenchmarkError
from benchmarks.table import Report, as_json, show

#: Name and module; the order is that of `all`.
BENCHMARKS: Mapping[str, str] = {
    "echo": "benchmarks.echo",
    "stream": "benchmarks.stream",
    "slow-reader": "benchmarks.slow_reader",
    "framing": "benchmarks.framing",
    "idle": "benchmarks.idle",
    "startup": "benchmarks.startup",
    "memory": "benchmarks.memory",
    "files": "benchmarks.files",
    "exec": "benchmarks.execution",
    "audit": "benchmarks.audit",
    "tls": "benchmarks.tls",
    "datagrams": "benchmarks.datagrams",
    "chat": "benchmarks.chat",
}


def machine() -> dict[str, object]:
    """Where the figures come from."""
    return {
        "python": platform.python_version(),
        "twisted": twisted.__version__,
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


@click.command(context_settings={"max_content_width": 100})
@click.argument("name", type=click.Choice([*BENCHMARKS, "all"]))
@click.option("--quick", is_flag=True, help="Short runs and small sizes: does it work?")
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    help="How often every peer has its turn. [default: 5, with --quick 2]",
)
@click.option("--peer", "peers", multiple=True, help="Only this peer; may be repeated.")
@click.option(
    "--wait",
    "waiting",
    type=click.Choice([each.value for each in Waiting]),
    default=Waiting.SPIN.value,
    show_default=True,
    help="What the load client does while it waits; spinning takes a core.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write every figure of every round here.",
)
def main(
    *,
    name: str,
    quick: bool,
    rounds: int | None,
    peers: tuple[str, ...],
    waiting: str,
    json_file: Path | None,
) -> None:
    """Measure sockserv beside its peers. Exit status: 0 all targets met, 1 not, 2 no measurement."""
    progress = sys.stderr.isatty()

    def say(text: str) -> None:
        if progress:
            click.echo(text, err=True)

    options = Options(
        quick=quick,
        rounds=rounds or (2 if quick else 5),
        peers=frozenset(peers),
        waiting=Waiting(waiting),
        say=say,
    )
    about = machine()
    click.echo(", ".join(f"{key} {value}" for key, value in about.items()))
    reports: list[Report] = []
    try:
        for each in BENCHMARKS if name == "all" else (name,):
            report: Report = importlib.import_module(BENCHMARKS[each]).run(options)
            for line in show(report):
                click.echo(line)
            reports.append(report)
    except BenchmarkError as error:
        click.echo(f"benchmarks: {error}", err=True)
        sys.exit(2)
    finally:
        if json_file is not None:
            results = {"machine": about, **{each.name: as_json(each) for each in reports}}
            json_file.write_text(json.dumps(results, indent=1) + "\n")
    sys.exit(0 if all(report.is_met for report in reports) else 1)


if __name__ == "__main__":
    main()
