"""The audit log: who did what, by which right, and how it ended, in lines that hold each other in place."""

from sockserv.trust.audit.record import AuditSink, Event, Record

__all__ = ["AuditSink", "Event", "Record"]
