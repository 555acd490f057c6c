"""What every service has to keep to, kept by this one."""

from __future__ import annotations

from sockserv.services import Service
from sockserv.services.execution.service import Execution
from sockserv.testing import Example, ServiceConformance
from sockserv.testing.processes import ScriptedProcess, ScriptedSpawner, cat, prints
from tests.services.execution.live import Permissive
from tests.services.execution.test_service import KeptThings

RUN = {"argv": ["hello"], "job": "a"}
KEPT = {"job": "kept"}


async def endless(process: ScriptedProcess) -> int:
    while True:
        await process.write(b"x" * 5000)


class TestExecution(ServiceConformance):
    examples = (
        Example("exec.run", RUN),
        Example("exec.run", {"argv": ["cat"], "job": "c"}, bytes(range(256)) * 1200),
        Example("exec.run", {"argv": ["endless"], "job": "e"}, ends=False),
        Example("exec.start", {"argv": ["x"], "job": "new"}, repeats=False),
        Example("exec.attach", KEPT),
        Example("exec.jobs"),
        Example("exec.wait", KEPT),
        Example("exec.signal", {**KEPT, "signal": "INT"}),
        Example("exec.resize", {**KEPT, "columns": 80, "rows": 24}),
        Example("exec.kill", KEPT),
        Example("exec.remove", KEPT),
        Example("exec.explain", {"argv": ["x"]}),
    )

    def make_service(self) -> Service:
        spawner = ScriptedSpawner(
            self.clock, {"hello": prints(b"hello\n", b"world\n"), "cat": cat, "endless": endless}
        )
        return Execution(Permissive(), spawner, kept=KeptThings({"somebody": "kept"}))
