from __future__ import annotations


def printable(text: str) -> str:
    """Return *text* with control characters escaped: a URL must not steer the terminal."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
