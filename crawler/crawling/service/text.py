from __future__ import annotations

import re

_LOGIN = re.compile(r"(://)[^/@\s\"']*@")


def without_logins(text: str) -> str:
    """Return *text* with user and password of every URL in it hidden."""
    return _LOGIN.sub(r"\1…@", text) if "@" in text else text


def printable(text: str) -> str:
    """Return *text* with control characters escaped: a URL must not steer the terminal."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
