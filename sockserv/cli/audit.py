"""`sockserv audit`: reading and looking over the audit log, where it lies."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from sockserv.cli.durations import seconds_in
from sockserv.cli.exits import EndedBySignal, ExitStatus
from sockserv.cli.options import App, Command, Group, pass_app
from sockserv.cli.output import as_json_line, padded, printable
from sockserv.cli.stdio import StreamError

if TYPE_CHECKING:
    from sockserv.trust.audit import Record
    from sockserv.trust.audit.folder import AuditFolder
    from sockserv.trust.audit.reading import Entry
    from sockserv.trust.audit.verify import Finding, Report

__all__ = ["command"]

_TAKES: Final = ("--state", "--json")
_POLL_SECONDS: Final = 0.5
_EVENTS: Final = (
    *("begin", "end", "refused", "login", "login-failed", "job", "revoked"),
    *("start", "stop", "rotated", "lost"),
)
_HASH: Final = re.compile("[0-9a-f]{64}")


@click.group(
    "audit", cls=Group, takes=_TAKES, epilog="Example:  sockserv audit show --since 1h --outcome ok"
)
def command() -> None:
    """Show and verify the audit log of a daemon here.

    The log is in the daemon's state directory, which --state names; the daemon need not run.
    """


class _Moment(click.ParamType):  # type: ignore[type-arg]  # older versions of click take none
    """A moment as a record has it: `2h` ago, a day, or a time in the form of RFC 3339, in UTC where it does not say."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The moment in the words of a record, which sort as time goes."""
        seconds = seconds_in(value)
        if seconds is not None:
            moment = datetime.now(UTC) - timedelta(seconds=seconds)
        else:
            try:
                moment = datetime.fromisoformat(value)
            except ValueError:
                self.fail(
                    f"{value!r} is neither a time ago, as 30m, 12h or 7d, nor a moment, as 2026-12-31 or "
                    "2026-12-31T23:59:00Z",
                    param,
                    ctx,
                )
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@attrs.frozen(kw_only=True)
class _Filter:
    """Which records are shown."""

    identity: str | None
    op: str | None
    event: str | None
    outcome: str | None
    since: str | None

    def lets_through(self, record: Record) -> bool:
        """Whether a record is what was asked for."""
        return (
            self.identity in (None, record.identity)
            and self.event in (None, record.event)
            and self.outcome in (None, record.outcome)
            and (self.op is None or fnmatchcase(record.op or "", self.op))
            and (self.since is None or record.time >= self.since)
        )


@command.command(
    "show",
    cls=Command,
    takes=_TAKES,
    epilog="""\b
Examples:
  sockserv audit show --since 1h
  sockserv audit show --identity alice --op 'files.*'
  sockserv audit show --event login-failed --follow
  sockserv audit show --json | jq -r 'select(.outcome != "ok") | .op'""",
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--identity", metavar="NAME", help="Only what this one has done.")
@click.option("--op", metavar="NAME", help="Only this operation; 'files.*' is all that begin so.")
@click.option(
    "--event",
    metavar="EVENT",
    type=click.Choice(_EVENTS),
    help=f"Only these records: {', '.join(_EVENTS)}.",
)
@click.option(
    "--outcome", metavar="CODE", help="Only what has ended so: ok, permission-denied, ..."
)
@click.option(
    "--since",
    metavar="TIME",
    type=_Moment(),
    help="Only what is no older: 30m, 12h or 7d ago, or from 2026-12-31T23:59 on (UTC).",
)
@pass_app
def show(app: App, /, *, follow: bool, **filters: Any) -> None:
    """Show the records of the log.

    A line for each, the oldest first; times are in UTC. With --json the lines are shown as they stand in the log.
    """
    from sockserv.trust.audit.reading import entries

    wanted = _Filter(**filters)
    output = _Output()

    def wait() -> None:
        output.flush()
        time.sleep(_POLL_SECONDS)

    with _readable(app) as folder:
        for entry in entries(folder, wait=wait if follow else None):
            if entry.line is None or wanted.lets_through(entry.line.record):
                output.write(_raw(entry) if app.options.json else _shown(entry))
    output.flush()


class _Output:
    """Standard output. Its errors are none of the log's."""

    def write(self, data: bytes) -> None:
        with _explained():
            sys.stdout.buffer.write(data)

    def flush(self) -> None:
        with _explained():
            sys.stdout.buffer.flush()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        # Whoever reads this through `head` has seen enough.
        raise EndedBySignal(signal.SIGPIPE) from None
    except OSError as error:
        raise StreamError(
            f"cannot write to standard output: {(error.strerror or str(error)).lower()}"
        ) from error


@command.command(
    "verify",
    cls=Command,
    takes=_TAKES,
    epilog="""\b
Examples:
  sockserv audit verify
  sockserv audit verify --head 0a1b...   what an earlier run has shown""",
)
@click.option("--head", metavar="HASH", help="The hash of a record that has to be there still.")
@pass_app
def verify(app: App, *, head: str | None) -> None:
    """Check that nobody has tampered with the log.

    No line may have been changed, put in, taken out or moved. Each fault is named with its file and line, and the exit
    status is 1. Note the hash that is shown at the end somewhere else, and give it to a later run: whoever can write
    to the log can also write all of it anew.
    """
    from sockserv.trust.audit.verify import verify as look_over

    if head is not None and not _HASH.fullmatch(head):
        raise click.UsageError("--head takes the 64 hexadecimal digits of a hash")
    with _readable(app) as folder:
        report = look_over(folder, noted=head)
    click.echo(
        as_json_line(_as_values(report)) if app.options.json else _described(folder, report),
        nl=False,
    )
    if report.faults:
        # The faults are the answer, and there is nothing to be said on standard error.
        click.get_current_context().exit(ExitStatus.FAILED)


@contextmanager
def _readable(app: App) -> Iterator[AuditFolder]:
    """The folder of the log. Raises `AuditLogError` when it cannot be read."""
    from sockserv.state import AUDIT_FOLDER, StateDirectory
    from sockserv.trust.audit.folder import AuditFolder, AuditLogError

    path = StateDirectory.locate(app.options.state).path / AUDIT_FOLDER
    try:
        yield AuditFolder(path)
    except FileNotFoundError:
        raise AuditLogError(
            f"there is no audit log in {path}: name the daemon's state directory with --state"
        ) from None
    except OSError as error:
        raise AuditLogError(
            f"the audit log in {path} cannot be read: {(error.strerror or str(error)).lower()}"
        ) from error


def _raw(entry: Entry) -> bytes:
    if entry.line is not None:
        return entry.content + b"\n"
    return as_json_line(
        {"damaged": {"file": entry.file, "line": entry.number, "what": entry.fault}}
    )


def _shown(entry: Entry) -> bytes:
    if entry.line is None:
        text = f"{entry.file} line {entry.number} {entry.fault}"
    else:
        record = entry.line.record
        columns = (
            f"{record.time[:19]:19}Z",
            padded(record.identity or "-", 10),
            f"{record.event:12}",
            f"{record.op or '-':22}",
            f"{record.outcome or '-':8}",
            ", ".join(_more_about(record)),
        )
        text = "  ".join(columns).rstrip()
    return printable(text).encode("utf-8", "backslashreplace") + b"\n"


def _more_about(record: Record) -> Iterator[str]:
    """What else there is to be said of a record."""
    facts: tuple[tuple[Any, Callable[[Any], str]], ...] = (
        (record.why, str),
        (record.args, lambda args: as_json_line(_what_is_given(args)).decode().strip()),
        (record.rule, lambda rule: f"{'needs' if record.event == 'refused' else 'by'} {rule}"),
        (record.received_bytes, lambda count: f"{count} bytes in"),
        (record.sent_bytes, lambda count: f"{count} bytes out"),
        (record.seconds, lambda seconds: f"{seconds:g} s"),
        (record.credential, str),
        (record.origin, lambda origin: f"from {origin}"),
        (record.facts, lambda facts: as_json_line(facts).decode().strip()),
    )
    return (describe(value) for value, describe in facts if value)


def _what_is_given(args: Any) -> Any:
    """Arguments without those that were left out."""
    if not isinstance(args, dict):
        return args
    given = {name: _what_is_given(value) for name, value in args.items()}
    return {name: value for name, value in given.items() if value not in (None, {})}


def _described(folder: AuditFolder, report: Report) -> str:
    findings = [*report.faults, *report.notes]
    lines = [f"{_where(finding)}{finding.what}" for finding in findings]
    if report.faults:
        lines.append(f"{folder.path}: {_count(len(report.faults), 'fault')}")
    else:
        records, files = _count(report.records, "record"), _count(report.files, "file")
        lines.append(f"{folder.path}: ok, {records} in {files}")
    if report.first is not None and report.first.seq > 1:
        lines.append(f"the first is record {report.first.seq}: older files were removed")
    if report.last is not None:
        lines.append(f"head {report.last.hash} (record {report.last.seq})")
    return "".join(f"{printable(line)}\n" for line in lines)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _where(finding: Finding) -> str:
    if finding.file is None:
        return ""
    return f"{finding.file} line {finding.line}: "


def _as_values(report: Report) -> dict[str, Any]:
    return {
        "ok": not report.faults,
        "files": report.files,
        "records": report.records,
        "head": None if report.last is None else attrs.asdict(report.last),
        "faults": [attrs.asdict(finding) for finding in report.faults],
        "notes": [attrs.asdict(finding) for finding in report.notes],
    }
