"""`python -m benchmarks.files`: which peers of the file benchmark are there; `--install` brings those that are not."""

from __future__ import annotations

import subprocess
import sys

import click

from benchmarks.files.needs import NEEDS


@click.command()
@click.option("--install", is_flag=True, help="Install what is missing, with apt-get and pip.")
def main(*, install: bool) -> None:
    """Say what the peers of the file benchmark need. Exit status: 0 all is there, 1 something is missing."""
    lacking = [need for need in NEEDS.values() if not need.is_there]
    for name, need in NEEDS.items():
        package = f"{need.debian} (apt)" if need.debian else f"{need.python} (pip)"
        click.echo(f"{name:<10} {'there' if need.is_there else 'MISSING':<8} {package}")
    debian = sorted({need.debian for need in lacking if need.debian})
    python = sorted({need.python for need in lacking if need.python})
    commands = []
    if debian:
        # Of the servers only the programs are wanted: none is started by the benchmark but with its own configuration.
        commands.append(["apt-get", "install", "--yes", "--no-install-recommends", *debian])
    if python:
        commands.append([sys.executable, "-m", "pip", "install", *python])
    for command in commands:
        click.echo(" ".join(command))
        if install:
            subprocess.run(command, check=True)
    sys.exit(1 if commands and not install else 0)


if __name__ == "__main__":
    main()
