"""Texts from events as a terminal can show them: whoever wrote the event must not move the cursor or forge a line."""

import unicodedata


def printable(text: str) -> str:
    """The text in one line, with everything escaped that is not a visible character or a space."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def printable_lines(text: str) -> list[str]:
    """The lines of a text that may have several, each of them printable."""
    return [printable(line.expandtabs(4)) for line in text.split("\n")]


def columns(text: str) -> int:
    """How many columns of a terminal the printable text takes."""
    return len(text) if text.isascii() else sum(_columns_of(each) for each in text)


def cut(text: str, width: int) -> str:
    """The printable text, cut with an ellipsis where it takes more columns than that."""
    if columns(text) <= width:
        return text
    kept, left = [], width - 1
    for each in text:
        left -= _columns_of(each)
        if left < 0:
            break
        kept.append(each)
    return "".join(kept) + "…"


def _columns_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
