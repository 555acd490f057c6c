"""Tells `twistd` that there is a sub-command `sockserv`; `sockserv.tap` is imported when it is used."""

from twisted.application.service import ServiceMaker

sockserv = ServiceMaker(
    "sockserv",
    "sockserv.tap",
    "Calls with streams both ways over one small open protocol.",
    "sockserv",
)
