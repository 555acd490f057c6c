"""The daemon's side of its guardian: the small process that starts its jobs for it, and ends them when it is gone.

The guardian itself is `sockserv.processes.guardian`. The streams of a job do not pass through it: it is given the
other ends.
"""

from sockserv.services.execution.guardian.spawner import GuardianSpawner

__all__ = ["GuardianSpawner"]
