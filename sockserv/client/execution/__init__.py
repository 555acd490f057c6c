"""Commands on a server: `client.exec`, and what its methods take and give.

A job is a call whose answer has two streams and ends with an `Outcome`; `job` is its face, `output` one of its streams,
`collecting` takes all of it, and `ending` says what became of it where the server has not.
"""

from sockserv.client.execution.collecting import Completed
from sockserv.client.execution.errors import (
    InvalidCommand,
    NotStarted,
    OutputDiscarded,
    OutputMismatch,
)
from sockserv.client.execution.face import Execution, new_name
from sockserv.client.execution.job import JobInput, RemoteJob
from sockserv.client.execution.output import JobOutput
from sockserv.execution.arguments import Command, ResourceLimits, Terminal
from sockserv.execution.outcome import Explanation, Job, KillReason, Outcome, OutcomeKind, Started

__all__ = [
    "Command",
    "Completed",
    "Execution",
    "Explanation",
    "InvalidCommand",
    "Job",
    "JobInput",
    "JobOutput",
    "KillReason",
    "NotStarted",
    "Outcome",
    "OutcomeKind",
    "OutputDiscarded",
    "OutputMismatch",
    "RemoteJob",
    "ResourceLimits",
    "Started",
    "Terminal",
    "new_name",
]
