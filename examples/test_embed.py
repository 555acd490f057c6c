"""The same service, tested in memory: no sockets, and no waiting."""

from embed import Load

from sockserv.testing import MemoryServer


def test_the_load_comes_every_second() -> None:
    with MemoryServer([Load()]) as memory:
        call = memory.run(memory.connect().open("load.watch"))
        assert len(memory.read(call).splitlines()) == 1
        memory.advance(60.0)
        assert len(memory.read(call).splitlines()) == 60
