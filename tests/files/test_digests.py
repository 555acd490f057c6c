"""Digests: the names, and what is known of the algorithms."""

from __future__ import annotations

import pytest

from sockserv.files.digests import DIGEST_ALGORITHMS, digest_of, new_hasher

OF_ABC = {
    "blake3": "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
    "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    "md5": "900150983cd24fb0d6963f7d28e17f72",
}


@pytest.mark.parametrize("algorithm", DIGEST_ALGORITHMS)
def test_a_digest(algorithm: str) -> None:
    hasher = new_hasher(algorithm)
    for piece in (b"a", b"", memoryview(b"bc")):
        hasher.update(piece)
    assert digest_of(hasher, algorithm) == f"{algorithm}:{OF_ABC[algorithm]}"


def test_another_algorithm() -> None:
    with pytest.raises(KeyError):
        new_hasher("sha1")
