"""The URLs of servers: what they mean, that they survive being written, and that their tokens stay secret."""

from __future__ import annotations

import base64
import secrets

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockserv.errors import ConnectError
from sockserv.urls import DEFAULT_PORT, Scheme, ServerUrl

PIN = "sha256:" + "A" * 43
TOKEN = "s3cret_s3cret-s3cret_s3cret-s3cret_s3cret-s"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("sockserv://lab", ServerUrl(scheme=Scheme.TLS, host="lab", port=DEFAULT_PORT)),
        ("sockserv://LAB:1/", ServerUrl(scheme=Scheme.TLS, host="lab", port=1)),
        ("sockserv://[::1]:7", ServerUrl(scheme=Scheme.TLS, host="::1", port=7)),
        (
            f"sockserv://10.0.0.1:9/?pin={PIN}&token={TOKEN}",
            ServerUrl(scheme=Scheme.TLS, host="10.0.0.1", port=9, pin=PIN, token=TOKEN),
        ),
        (
            f"sockserv://lab?token=a%26b&pin=sha256%3A{'A' * 43}",
            ServerUrl(scheme=Scheme.TLS, host="lab", pin=PIN, token="a&b"),
        ),
        ("tcp://127.0.0.1:5", ServerUrl(scheme=Scheme.TCP, host="127.0.0.1", port=5)),
        ("tcp://bücher.example:5", ServerUrl(scheme=Scheme.TCP, host="bücher.example", port=5)),
        ("tcp://[fe80::1%eth0]:5", ServerUrl(scheme=Scheme.TCP, host="fe80::1%eth0", port=5)),
        ("unix:///run/a%20b", ServerUrl(scheme=Scheme.UNIX, port=0, path="/run/a b")),
        ("unix:///%FF?token=t", ServerUrl(scheme=Scheme.UNIX, port=0, path="/\udcff", token="t")),
    ],
)
def test_what_a_url_means(text: str, url: ServerUrl) -> None:
    assert ServerUrl.parse(text) == url
    assert ServerUrl.parse(url.reveal()) == url
    assert ServerUrl.parse(str(url)) == attrs.evolve(url, token=None)
    assert ServerUrl.parse(url.address) == attrs.evolve(url, token=None, pin=None)


def test_what_an_invitation_looks_like() -> None:
    url = ServerUrl(scheme=Scheme.TLS, host="2001:db8::1", port=7700, pin=PIN, token=TOKEN)
    assert url.reveal() == f"sockserv://[2001:db8::1]:7700/?pin={PIN}&token={TOKEN}"
    assert str(url) == f"sockserv://[2001:db8::1]:7700/?pin={PIN}"
    assert url.address == "sockserv://[2001:db8::1]:7700"
    unix = ServerUrl(scheme=Scheme.UNIX, path="/run/é", token="t")
    assert unix.reveal() == "unix:///run/%C3%A9?token=t"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "write sockserv://HOST:PORT, tcp://HOST:PORT or unix:///PATH"),
        ("lab:7700", "write sockserv://HOST:PORT"),
        ("//lab", "write sockserv://HOST:PORT"),
        ("http://lab:7700", "write sockserv://HOST:PORT"),
        ("sockserv://", "it needs a host"),
        ("sockserv://lab:0", "it needs a port"),
        ("sockserv://lab:", "it needs a port"),
        ("tcp://lab", "it needs a port"),
        ("tcp://lab:65536", "the port is a number from 1 to 65535"),
        ("tcp://lab:http", "the port is a number from 1 to 65535"),
        ("tcp://[::1", "its host is not well-formed"),
        ("tcp://[lab]:1", "its host is not well-formed|it needs a host"),
        ("tcp://a b:1", "it needs a host"),
        ("tcp://lab:1/path", "there is nothing to write between"),
        ("tcp://owner@lab:1", "no user name"),
        ("tcp://lab:1#", "it has a # in it"),
        ("tcp://la\nb:1", "control characters"),
        (f"tcp://lab:1?pin={PIN}", "a pin is only for sockserv://"),
        ("sockserv://lab?pin=", "the pin is not whole"),
        ("sockserv://lab?pin=sha256:" + "A" * 42, "the pin is not whole"),
        ("sockserv://lab?pin=sha256:" + "A" * 42 + "B", "the pin is not whole"),
        ("sockserv://lab?pin=sha1:" + "A" * 43, "the pin is not whole"),
        (f"sockserv://lab?pin={PIN}&pin={PIN}", "it has pin twice"),
        ("sockserv://lab?token=", "the token is not whole"),
        ("sockserv://lab?token=a%20b", "the token is not whole"),
        ("sockserv://lab?tokne=a", "only pin= and token="),
        ("sockserv://lab?token=a&", "only pin= and token="),
        ("unix://", "write unix:///PATH"),
        ("unix:relative", "write unix:///PATH"),
        ("unix://host/path", "write unix:///PATH"),
        ("unix:///a%00b", "write unix:///PATH"),
        ("tcp://" + "a" * 5000 + ":1", "longer than 4096"),
    ],
)
def test_what_is_no_url_of_a_server(text: str, why: str) -> None:
    with pytest.raises(ConnectError, match=f"is not the URL of a server: .*({why})"):
        ServerUrl.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        TOKEN,
        f"token={TOKEN}",
        f"sockserv://lab?token={TOKEN}&",
        f"sockserv://lab?TOKEN={TOKEN}",
        f"sockserv://lab:x/?token={TOKEN}",
        f"sockserv://lab/{TOKEN}",
        f"sockserv://owner:{TOKEN}@lab",
        f"sockserv://{TOKEN[:20]}@lab",
        f"sockserv://lab#{TOKEN[:20]}",
        f"sockserv://lab\n?token={TOKEN[:20]}",
        f"http://[lab?token={TOKEN[:20]}",
    ],
)
def test_a_mistake_in_a_url_does_not_give_the_token_away(text: str) -> None:
    with pytest.raises(ConnectError) as caught:
        ServerUrl.parse(text)
    assert TOKEN[:20] not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_the_token_is_in_no_text() -> None:
    url = ServerUrl(scheme=Scheme.TLS, host="lab", token=TOKEN)
    assert TOKEN not in f"{url} {url!r} {[url]} {url.address}"


@pytest.mark.parametrize(
    ("text", "is_local"),
    [
        ("unix:///run/s", True),
        ("tcp://localhost:1", True),
        ("tcp://127.3.4.5:1", True),
        ("sockserv://[::1]", True),
        ("sockserv://127.0.0.1.example.org", False),
        ("sockserv://10.0.0.1", False),
        ("sockserv://0.0.0.0", False),
    ],
)
def test_what_stays_on_this_machine(text: str, is_local: bool) -> None:
    assert ServerUrl.parse(text).is_local is is_local


@given(
    scheme=st.sampled_from([Scheme.TLS, Scheme.TCP]),
    host=st.from_regex(r"[a-z0-9][a-z0-9.-]{0,30}", fullmatch=True),
    port=st.integers(1, 65_535),
    token=st.none() | st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1),
    path=st.text(st.characters(exclude_characters="\0"), max_size=40),
)
def test_every_url_survives_being_written(
    scheme: Scheme, host: str, port: int, token: str | None, path: str
) -> None:
    url = ServerUrl(scheme=scheme, host=host, port=port, token=token)
    assert ServerUrl.parse(url.reveal()) == url
    path = "/" + path.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
    unix = ServerUrl(scheme=Scheme.UNIX, port=0, path=path, token=token)
    assert ServerUrl.parse(unix.reveal()) == unix


@given(st.text() | st.text().map(lambda text: f"sockserv://{text}"))
def test_any_text_is_a_url_or_a_connect_error(text: str) -> None:
    try:
        url = ServerUrl.parse(text)
    except ConnectError:
        return
    assert ServerUrl.parse(url.reveal()) == url


def test_a_pin_of_any_key_is_one() -> None:
    for _ in range(100):
        pin = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
        text = f"sockserv://lab:7700/?pin=sha256:{pin}"
        assert str(ServerUrl.parse(text)) == text
