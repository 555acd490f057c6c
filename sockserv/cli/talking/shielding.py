"""The line that is typed, with what cannot be seen in it made visible: somebody may paste anything."""

from __future__ import annotations

from prompt_toolkit.formatted_text import StyleAndTextTuples, fragment_list_to_text
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput

from sockserv.cli.output import printable

__all__ = ["Shielding", "shield"]


class Shielding(Processor):
    """Shows `\\u202e` where the line has that character; the line itself stays as it is."""

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        """One row of the line as it is shown."""
        text = fragment_list_to_text(transformation_input.fragments)
        if text.isprintable():
            return Transformation(transformation_input.fragments)
        shown, starts = shield(text)
        fragments: StyleAndTextTuples = [("", shown)]
        return Transformation(
            fragments,
            source_to_display=lambda index: starts[min(index, len(text))],
            display_to_source=lambda index: sum(1 for start in starts[1:] if start <= index),
        )


def shield(text: str) -> tuple[str, list[int]]:
    """A text as it is shown, and for each of its characters, and its end, where that begins there."""
    pieces = [printable(character) for character in text]
    starts = [0]
    for piece in pieces:
        starts.append(starts[-1] + len(piece))
    return "".join(pieces), starts
