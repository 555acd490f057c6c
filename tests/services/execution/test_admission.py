"""How many jobs run at once, and who waits."""

from __future__ import annotations

from sockserv.execution.errors import Refused, TooManyJobs
from sockserv.testing import Link
from tests.services.execution.live import ALICE, BOB, LiveServer, Running


def refusal(running: Running) -> tuple[str, str]:
    assert isinstance(running.failure, TooManyJobs), running
    return running.failure.details["rule"], str(running.failure)


def test_who_finds_no_room_waits_for_it_in_turn() -> None:
    with LiveServer(max_jobs=2) as server:
        jobs = [server.begin("sleep", job=f"j{number}") for number in range(4)]
        assert len(server.spawner.started) == 2
        server.call("kill", {"job": "j1"})
        assert [child.program.environment["SOCKSERV_JOB"] for child in server.spawner.started] == [
            "j0",
            "j1",
            "j2",
        ]
        assert [job.has_ended for job in jobs] == [False, True, False, False]


def test_who_has_no_room_of_its_own_lets_others_pass() -> None:
    with LiveServer(max_jobs=2, max_identity_jobs=1) as server:
        server.begin("sleep", who=ALICE)
        server.begin("sleep", who=ALICE, job="second")
        server.run("true", who=BOB).check("exited(0)")
        assert len(server.spawner.started) == 2


def test_only_so_many_wait() -> None:
    with LiveServer(max_jobs=1, max_waiting_jobs=1) as server:
        server.begin("sleep")
        waiting = server.begin("true")
        rule, message = refusal(server.run("true"))
        assert rule == "max_jobs"
        assert message == (
            "1 jobs run, which is the limit (max_jobs), and 1 wait already: try again later"
        )
        assert not waiting.has_ended


def test_nobody_takes_all_the_places_where_others_could_wait() -> None:
    with LiveServer(max_jobs=2, max_identity_jobs=2, max_waiting_jobs=10) as server:
        for _ in range(4):
            server.begin("sleep", who=ALICE)
        rule, message = refusal(server.run("true", who=ALICE))
        assert rule == "max_jobs"
        assert "and 2 of this identity wait already" in message
        waiting = server.begin("true", who=BOB)
        assert not waiting.has_ended


def test_nobody_waits_for_ever() -> None:
    with LiveServer(max_identity_jobs=1, waiting_timeout_seconds=5.0) as server:
        server.begin("sleep", who=ALICE)
        waiting = server.begin("true", who=ALICE)
        server.memory.advance(4.9)
        assert not waiting.has_ended
        server.memory.advance(0.1)
        rule, message = refusal(waiting)
        assert rule == "max_identity_jobs"
        assert "none ended within 5 seconds" in message


def test_what_is_forbidden_while_it_waits_is_not_run() -> None:
    with LiveServer(max_jobs=1) as server:
        server.begin("sleep", job="first")
        waiting = server.begin("true")
        server.policy.forbidden.add("true")
        server.call("kill", {"job": "first"})
        assert isinstance(waiting.failure, Refused)
        assert len(server.spawner.started) == 1
        server.policy.forbidden.clear()
        server.run("true").check("exited(0)")


def test_who_is_gone_is_out_of_the_way() -> None:
    with LiveServer(max_jobs=1, max_waiting_jobs=1) as server:
        server.begin("sleep", job="first")
        server.begin("true", link=(link := Link()))
        link.cut()
        server.memory.flush()
        last = server.begin("true")
        server.call("kill", {"job": "first"})
        last.check("exited(0)")
        assert [child.program.argv for child in server.spawner.started] == [("sleep",), ("true",)]


def test_a_job_makes_room_when_nothing_of_it_runs_though_its_output_is_unread() -> None:
    with LiveServer(max_jobs=1) as server:
        server.begin("hello", reads=False)
        server.run("true").check("exited(0)")


def test_one_that_cannot_start_makes_room() -> None:
    with LiveServer(max_jobs=1) as server:
        for name in ("locked", "forbidden", "not-there", "true"):
            assert server.run(name).has_ended
        server.run("true").check("exited(0)")
