"""Text from files and from other people, made safe for a terminal."""

from __future__ import annotations

import unicodedata

#: Control, format (bidirectional ones among them), surrogate, private and unassigned characters,
#: line and paragraph separators: any of them can hide, forge or reorder what is on the screen
_UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def printable(text: object) -> str:
    """Returns a text in one line, with whatever is no visible character or space escaped."""
    return "".join(
        character
        if unicodedata.category(character) not in _UNSAFE
        else character.encode("unicode_escape").decode("ascii")
        for character in str(text)
    )
