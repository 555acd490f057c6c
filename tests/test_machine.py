"""What this machine is called."""

from __future__ import annotations

from ipaddress import IPv4Address

from sockserv import machine


def test_the_names_for_a_certificate() -> None:
    names = machine.names()
    assert names[0] == "localhost"
    assert IPv4Address("127.0.0.1") in names


def test_its_addresses_are_of_use_to_others() -> None:
    for address in machine.addresses():
        assert not address.is_unspecified
        assert not address.is_link_local
