"""The link behaves like Twisted's TCP transports, and does what a test asks of a network."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.interfaces import IConsumer, IPushProducer, ITCPTransport
from zope.interface.verify import verifyObject

from sockserv.testing import EVERY_BYTE, Link, MemoryNetwork, RandomSizes
from tests.testing.fakes import HalfCloseable, Puller, Pusher, Recorder

BUFFER_BYTES = 64 * 1024


class Pair:
    """A client and a server on a link."""

    def __init__(
        self,
        link: Link | None = None,
        *,
        client: Recorder | None = None,
        server: Recorder | None = None,
    ) -> None:
        self.network = MemoryNetwork()
        self.client = client or Recorder()
        self.server = server or Recorder()
        self.link = self.network.join(self.client, self.server, link)
        self.flush = self.network.flush


def test_the_transport_has_the_interfaces_of_a_tcp_transport() -> None:
    transport = Pair().client.link
    for interface in (ITCPTransport, IConsumer, IPushProducer):
        assert verifyObject(interface, transport)


def test_bytes_go_both_ways_in_order_and_only_when_turns_pass() -> None:
    pair = Pair()
    pair.client.link.write(b"one ")
    pair.client.link.writeSequence([b"two ", b"three"])
    pair.server.link.write(b"answer")
    assert pair.server.deliveries == []
    pair.flush()
    assert pair.server.deliveries == [b"one two three"]
    assert pair.client.deliveries == [b"answer"]


def test_a_delivery_is_no_larger_than_a_socket_reads_at_once() -> None:
    pair = Pair()
    pair.client.link.write(bytes(150_000))
    pair.flush()
    assert [len(data) for data in pair.server.deliveries] == [65_536, 65_536, 18_928]


@pytest.mark.parametrize("data", ["text", bytearray(b"x"), memoryview(b"x"), None])
def test_only_bytes_are_written(data: object) -> None:
    with pytest.raises(TypeError, match="must be bytes"):
        Pair().client.link.write(data)


def test_addresses_and_options() -> None:
    pair = Pair()
    transport = pair.client.link
    assert transport.getHost() == pair.server.link.getPeer()
    assert transport.getPeer() == pair.server.link.getHost()
    assert not transport.getTcpNoDelay()
    transport.setTcpNoDelay(True)
    transport.setTcpKeepAlive(1)
    assert transport.getTcpNoDelay()
    assert transport.getTcpKeepAlive()


def test_one_link_joins_once() -> None:
    pair = Pair()
    with pytest.raises(RuntimeError, match="one link, one connection"):
        pair.network.join(Recorder(), Recorder(), pair.link)


# Fragments


@pytest.mark.parametrize(
    ("fragments", "expected"),
    [
        ([2, 3], [2, 3, 5]),
        ([2, 100], [2, 8]),
        ([0], [10]),
        ([3, 0, 1], [3, 7]),
        (EVERY_BYTE, [1] * 10),
        ((n for n in (4, 4)), [4, 4, 2]),
    ],
)
def test_deliveries_have_the_sizes_asked_for(fragments: list[int], expected: list[int]) -> None:
    pair = Pair(Link(fragments=fragments))
    pair.client.link.write(b"0123456789")
    pair.flush()
    assert [len(data) for data in pair.server.deliveries] == expected
    assert pair.server.received == b"0123456789"


def test_a_border_stays_where_it_is_when_bytes_come_late() -> None:
    pair = Pair(Link(fragments=[5, 5]))
    for _ in range(4):
        pair.client.link.write(b"abc")
        pair.flush()
    assert [len(data) for data in pair.server.deliveries] == [3, 2, 1, 3, 1, 2]


@given(st.lists(st.binary(max_size=300), max_size=20), st.integers(), st.integers(1, 500))
def test_random_fragments_change_nothing_but_the_borders(
    writes: list[bytes], seed: int, max_bytes: int
) -> None:
    def deliveries() -> list[bytes]:
        pair = Pair(Link(fragments=RandomSizes(seed, max_bytes)))
        for data in writes:
            pair.client.link.write(data)
            pair.network.step()
        pair.flush()
        assert pair.link.to_server.delivered_bytes == len(pair.server.received)
        assert pair.link.to_server.waiting_bytes == 0
        return pair.server.deliveries

    once = deliveries()
    assert b"".join(once) == b"".join(writes)
    assert all(0 < len(data) <= max_bytes for data in once)
    assert once == deliveries(), "the same seed gives the same borders"


# Delay


def test_bytes_travel_for_the_delay() -> None:
    pair = Pair(Link(delay_seconds=0.5))
    pair.client.link.write(b"first")
    pair.network.advance(0.3)
    pair.client.link.write(b"second")
    assert pair.link.to_server.waiting_bytes == 11
    pair.network.advance(0.1)
    assert pair.server.deliveries == []
    pair.network.advance(0.1)
    assert pair.server.deliveries == [b"first"]
    pair.network.advance(0.3)
    assert pair.server.deliveries == [b"first", b"second"]
    pair.client.link.loseConnection()
    pair.network.advance(0.4)
    assert pair.server.ends == []
    pair.network.advance(2.0)
    assert pair.server.ends == pair.client.ends == ["ConnectionDone"]
    assert pair.network.clock.getDelayedCalls() == []


def test_nothing_overtakes_when_the_delay_shrinks() -> None:
    pair = Pair(Link(delay_seconds=1.0))
    pair.client.link.write(b"slow ")
    pair.link.to_server.delay_seconds = 0.25
    pair.client.link.write(b"quick")
    pair.link.to_server.delay_seconds = 0.0
    pair.client.link.write(b"er")
    pair.network.advance(0.9)
    assert pair.server.deliveries == []
    pair.network.advance(0.1)
    assert pair.server.received == b"slow quicker"


def test_a_cut_takes_what_was_travelling() -> None:
    pair = Pair(Link(delay_seconds=1.0))
    pair.client.link.write(b"lost")
    pair.link.cut()
    pair.network.advance(5.0)
    assert pair.server.deliveries == []
    assert pair.network.clock.getDelayedCalls() == []


# Stalls and producers


def test_a_stalled_direction_keeps_its_bytes_and_the_other_goes_on() -> None:
    pair = Pair()
    pair.link.to_server.stall()
    pair.client.link.write(b"request")
    pair.server.link.write(b"news")
    pair.flush()
    assert pair.server.deliveries == []
    assert pair.client.deliveries == [b"news"]
    assert "stalled" in repr(pair.link)
    pair.link.to_server.resume()
    pair.flush()
    assert pair.server.deliveries == [b"request"]


@pytest.mark.parametrize(("size", "is_paused"), [(BUFFER_BYTES, False), (BUFFER_BYTES + 1, True)])
def test_a_push_producer_is_paused_above_the_buffer(size: int, is_paused: bool) -> None:
    pair = Pair()
    producer = Pusher()
    pair.link.stall()
    pair.client.link.registerProducer(producer, True)
    pair.client.link.write(bytes(size))
    assert producer.calls == ["pause"] * is_paused
    pair.flush()
    assert producer.calls == ["pause"] * is_paused
    pair.link.resume()
    pair.flush()
    assert producer.calls == ["pause", "resume"] * is_paused


def test_a_push_producer_is_resumed_only_when_all_has_gone() -> None:
    pair = Pair(Link(buffer_bytes=4, fragments=EVERY_BYTE))
    producer = Pusher()
    pair.client.link.registerProducer(producer, True)
    pair.client.link.write(b"12345")
    for _ in range(4):
        pair.network.step()
        assert producer.calls == ["pause"]
    pair.network.step()
    assert producer.calls == ["pause", "resume"]


def test_a_reader_that_pauses_holds_up_the_writer() -> None:
    pair = Pair(Link(buffer_bytes=4))
    producer = Pusher()
    pair.server.link.pauseProducing()
    pair.client.link.registerProducer(producer, True)
    pair.client.link.write(b"12345")
    pair.flush()
    assert producer.calls == ["pause"]
    assert "not being read" in repr(pair.link)
    pair.server.link.resumeProducing()
    pair.flush()
    assert producer.calls == ["pause", "resume"]
    assert pair.server.received == b"12345"


def test_a_pull_producer_is_asked_each_time_that_all_has_gone() -> None:
    pair = Pair(Link(fragments=[1, 1, 1, 1, 1]))
    producer = Puller(pair.client.link, [b"one", b"two"])
    pair.client.link.registerProducer(producer, False)
    assert producer.asked == 1
    pair.flush()
    assert pair.server.received == b"onetwo"
    assert producer.asked == 3
    assert not producer.is_stopped


def test_a_pull_producer_waits_for_a_stalled_link() -> None:
    pair = Pair()
    pair.link.stall()
    producer = Puller(pair.client.link, [b"one", b"two"])
    pair.client.link.registerProducer(producer, False)
    pair.flush()
    assert producer.asked == 1


def test_a_second_producer_is_refused() -> None:
    transport = Pair().client.link
    transport.registerProducer(Pusher(), True)
    with pytest.raises(RuntimeError, match="was not unregistered"):
        transport.registerProducer(Pusher(), True)


@pytest.mark.parametrize("how", ["loseConnection", "abortConnection"])
def test_a_producer_is_stopped_with_the_connection(how: str) -> None:
    pair = Pair()
    producer = Pusher()
    pair.client.link.registerProducer(producer, True)
    getattr(pair.server.link, how)()
    pair.flush()
    assert producer.calls == ["stop"]
    late = Pusher()
    pair.client.link.registerProducer(late, True)
    assert late.calls == ["stop"]
    assert pair.client.link.producer is None


# The end


def test_a_close_comes_after_what_was_written() -> None:
    pair = Pair(Link(fragments=[1, 1]))
    pair.client.link.write(b"last words")
    pair.client.link.loseConnection()
    pair.client.link.loseConnection()
    assert pair.client.ends == []
    pair.flush()
    assert pair.server.received == b"last words"
    assert pair.client.ends == pair.server.ends == ["ConnectionDone"]
    assert not pair.link.is_open
    assert pair.network.links == []


def test_a_close_waits_for_the_producer() -> None:
    pair = Pair()
    producer = Pusher()
    pair.client.link.registerProducer(producer, True)
    pair.client.link.stopProducing()
    pair.flush()
    assert pair.client.ends == []
    pair.client.link.write(b"more")
    pair.client.link.unregisterProducer()
    pair.flush()
    assert pair.server.received == b"more"
    assert pair.client.ends == ["ConnectionDone"]


def test_who_closes_reads_nothing_more_and_holds_nobody_up() -> None:
    pair = Pair(Link(buffer_bytes=4))
    producer = Pusher()
    pair.server.link.registerProducer(producer, True)
    pair.server.link.write(b"12345")
    pair.link.to_server.stall()
    pair.client.link.write(b"x")
    pair.client.link.loseConnection()
    pair.client.link.resumeProducing()
    pair.flush()
    assert pair.client.deliveries == []
    assert producer.calls == ["pause", "resume"]
    pair.link.resume()
    pair.flush()
    assert pair.server.ends == ["ConnectionDone"]


def test_both_close_at_once() -> None:
    pair = Pair()
    for side in (pair.client, pair.server):
        side.link.write(b"bye")
        side.link.loseConnection()
    pair.flush()
    assert pair.client.ends == pair.server.ends == ["ConnectionDone"]


def test_nothing_is_written_to_a_connection_that_is_lost() -> None:
    pair = Pair()
    pair.link.cut()
    pair.client.link.write(b"x")
    pair.flush()
    pair.client.link.write(b"x")
    pair.client.link.resumeProducing()
    pair.client.link.abortConnection()
    pair.flush()
    assert pair.server.deliveries == []
    assert pair.client.ends == ["ConnectionLost"]


def test_what_was_written_before_the_other_closed_is_still_delivered() -> None:
    """As from the buffer of the operating system."""
    pair = Pair(client=HalfCloseable())
    pair.server.link.write(b"answer")
    pair.client.link.loseWriteConnection()
    pair.network.step()
    pair.flush()
    assert pair.client.received == b"answer"
    assert pair.server.ends == ["ConnectionDone"]


def test_an_abort_loses_what_was_not_delivered() -> None:
    pair = Pair()
    pair.client.link.write(b"lost")
    pair.client.link.abortConnection()
    pair.client.link.abortConnection()
    assert pair.client.ends == [], "it comes in a later turn, as with Twisted"
    pair.flush()
    assert pair.server.deliveries == []
    assert pair.client.ends == ["ConnectionAborted"]
    assert pair.server.ends == ["ConnectionLost"]


def test_an_abort_does_not_pass_a_stall() -> None:
    pair = Pair()
    pair.link.stall()
    pair.client.link.abortConnection()
    pair.flush()
    assert pair.client.ends == ["ConnectionAborted"]
    assert pair.server.ends == []
    pair.link.resume()
    pair.flush()
    assert pair.server.ends == ["ConnectionLost"]


def test_an_abort_takes_its_time_too() -> None:
    pair = Pair(Link(delay_seconds=1.0))
    pair.client.link.abortConnection()
    pair.network.advance(0.9)
    assert pair.server.ends == []
    pair.network.advance(0.1)
    assert pair.server.ends == ["ConnectionLost"]


@pytest.mark.parametrize("count", range(12))
def test_a_cut_after_so_many_bytes(count: int) -> None:
    pair = Pair()
    pair.link.to_server.cut_after(count)
    pair.client.link.write(b"0123456789")
    pair.flush()
    assert pair.server.received == b"0123456789"[:count]
    ends = [] if count > 10 else ["ConnectionLost"]
    assert pair.client.ends == pair.server.ends == ends


def test_a_cut_at_a_place_that_is_passed_already() -> None:
    pair = Pair()
    pair.client.link.write(b"0123456789")
    pair.flush()
    pair.link.to_server.cut_after(10)
    pair.flush()
    assert pair.client.ends == pair.server.ends == ["ConnectionLost"]


def test_a_link_can_be_tuned_before_it_joins_anything() -> None:
    link = Link()
    assert "not joined" in repr(link)
    assert repr(link.to_client) == "<0 bytes delivered, 0 waiting>"
    link.to_server.cut_after(0)
    link.to_client.stall()
    pair = Pair(link)
    pair.flush()
    assert pair.server.ends == pair.client.ends == ["ConnectionLost"]


# Half-close


def test_half_close_ends_a_protocol_that_knows_no_half() -> None:
    pair = Pair()
    pair.client.link.write(b"request")
    pair.client.link.loseWriteConnection()
    pair.flush()
    assert pair.server.received == b"request"
    assert pair.server.ends == pair.client.ends == ["ConnectionDone"]


def test_half_close_leaves_the_other_half() -> None:
    pair = Pair(client=HalfCloseable(), server=HalfCloseable())
    pair.client.link.write(b"request")
    pair.client.link.loseWriteConnection()
    pair.flush()
    assert isinstance(pair.client, HalfCloseable)
    assert isinstance(pair.server, HalfCloseable)
    assert pair.client.half_ends == ["write"]
    assert pair.server.half_ends == ["read"]
    pair.client.link.write(b"no more")
    pair.server.link.write(b"answer")
    pair.flush()
    assert pair.server.received == b"request"
    assert pair.client.received == b"answer"
    pair.server.link.loseConnection()
    pair.flush()
    assert pair.server.ends == ["ConnectionDone"]
    assert pair.client.half_ends == ["write", "read"]
    pair.client.link.loseConnection()
    assert pair.client.ends == ["ConnectionDone"]
    pair.flush()


def test_random_sizes_reach_their_greatest() -> None:
    sizes = [size for size, _ in zip(RandomSizes(1, 100), range(1000), strict=False)]
    assert min(sizes) == 1
    assert 90 < max(sizes) <= 100
    assert any(a != b for a, b in pairwise(sizes))
