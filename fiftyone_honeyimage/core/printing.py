"""Text for people: from files and from others, made safe for a terminal, and durations in words."""

from __future__ import annotations

import re
import unicodedata

#: Control, format (bidirectional ones among them), surrogate, private and unassigned characters,
#: line and paragraph separators: any of them can hide, forge or reorder what is on the screen
_UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
#: Letters and marks that look like spaces: rows of them could push text out of sight or set it apart
_BLANK = "\u115f\u1160\u2800\u3164\uffa0"
#: Marks that are not seen at all
_UNSEEN = re.compile("[\u034f\u17b4\u17b5\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")


def printable(text: object, *, layout: bool = False) -> str:
    """Returns a text in one line, with whatever is no visible character or space escaped.

    Args:
        text: from anywhere
        layout (False): whether runs of plain spaces are kept, in text that the program itself has laid
            out; else a run of spaces and of blank letters becomes one space
    """
    spaced = "".join(
        " " if character in _BLANK or unicodedata.category(character) == "Zs" else character
        for character in str(text)
    )
    if not layout:
        spaced = re.sub(" +", " ", spaced)
    return "".join(
        character
        if unicodedata.category(character) not in _UNSAFE and not _UNSEEN.match(character)
        else character.encode("unicode_escape").decode("ascii")
        for character in spaced
    )


def quoted(text: object, most: int = 200) -> str:
    """Returns another's words between quotes that they cannot close, with no more letters than ``most``."""
    words = str(text)
    more = "" if len(words) <= most else f" (the first {most} of {len(words):,} letters)"
    escaped = words[:most].replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"{more}'


def time_text(seconds: float) -> str:
    """A duration in words, as precise as an estimate may be."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
