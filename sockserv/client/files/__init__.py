"""The files of a server: `client.files`, and what its methods take and give.

A transfer is a plan first, which steps are to be done, and then carried out: `plan` makes it of two lists, `execution`
carries it out with `sending` and `fetching`, and `local` and `target` are what of that touches the disk here.
"""

from sockserv.client.files.errors import (
    Incomplete,
    LocalDiskError,
    LocalFileError,
    SourceChanged,
    TargetBusy,
    TargetExists,
)
from sockserv.client.files.face import Files
from sockserv.client.files.listing import Listing
from sockserv.client.files.plan import Action, Direction, Plan, Step
from sockserv.client.files.progress import Progress, State, Summary, Transfer

__all__ = [
    "Action",
    "Direction",
    "Files",
    "Incomplete",
    "Listing",
    "LocalDiskError",
    "LocalFileError",
    "Plan",
    "Progress",
    "SourceChanged",
    "State",
    "Step",
    "Summary",
    "TargetBusy",
    "TargetExists",
    "Transfer",
]
