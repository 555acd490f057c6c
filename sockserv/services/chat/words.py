"""Text as it is looked up: words, and each character of a script that writes without spaces as a word of its own."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["as_indexed", "as_query"]

_BY_ITSELF: Final = re.compile(
    # Han, Kana, Hangul syllables, Thai, Lao, Khmer, Burmese, and the supplementary planes of Han.
    "([\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u3040-\u30ff\uac00-\ud7af"
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\U00020000-\U0003ffff])"
)


def as_indexed(text: str) -> str:
    """The text as it goes into the index."""
    return text if text.isascii() else _BY_ITSELF.sub(r" \1 ", text)


def as_query(text: str) -> str:
    """What is to be looked up, in the words of FTS5: all that is apart by spaces, each as it stands, in any order.

    Empty when there is nothing in the text that could be looked up.
    """
    phrases = []
    for word in text.split():
        if any(character.isalnum() for character in word):
            quoted = as_indexed(word).replace('"', '""')
            # The beginning of a word finds it; a character by itself is whole.
            ending = "" if _BY_ITSELF.search(word[-1]) else "*"
            phrases.append(f'"{quoted.strip()}"{ending}')
    return " ".join(dict.fromkeys(phrases))
