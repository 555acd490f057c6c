"""The wire formats of the old socket tutorial, for clients that were written from it.

Each is a conversation of a few lines over the daemon's own services: what somebody may do by it is what their identity
may do, and what they do stands in the audit log.
"""
