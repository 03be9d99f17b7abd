"""The links of a page, read from its tags in one pass.

No tree is built: all HTML5 parsers take time that grows with the square of a hostile page
(100,000 nested tags, or attributes, take lexbor a minute), and a link needs none.  What is
found is what the tokenizer of the HTML standard finds: nothing in comments, scripts, titles
or attributes, and references decoded as in attributes.
"""

from __future__ import annotations

import re
from html import unescape
from html.entities import html5
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Characters of a link's text that are kept, and of its markup that are looked at.
MAX_TEXT = 2000
MAX_TEXT_MARKUP = 20_000

#: What stands between a tag's name and its end.  A tag of more than some 1000 attributes
#: is matched in part, without its end.
_ATTRIBUTES = r"""(?:[^=>]+|=\s*(?:"[^"]*"?|'[^']*'?|[^\s>"'][^\s>]*)?){0,2000}"""
_PLAIN_ATTRIBUTE = r"""\s+[a-zA-Z\-]+="[^"]*\""""
_NAME_ENDS = r"(?=[\s/>])"
_RAW = "script|style|title|textarea|iframe|xmp|noembed|noframes"

# Linear: whatever comes is matched, and what is left open ends with the page.  Other tags
# without attributes are not matched at all; first comes the link as most write it.
_TAG = re.compile(
    rf"""<(?!/?(?:p|li|ul|b|i|em|strong|h[1-6]|br|div|span|td|tr|th)>)(?:
        [aA](?:{_PLAIN_ATTRIBUTE}){{0,20}}?\s+(?i:href)="(?P<href>[^"&]*)"
            (?:{_PLAIN_ATTRIBUTE}){{0,20}}\s*>(?P<text>[^<&]{{0,{MAX_TEXT}}})</[aA]\s*>
        | (?=[aAbB])(?P<link>(?i:a|area|base)){_NAME_ENDS}(?P<attributes>{_ATTRIBUTES})>?
        | /(?P<end>[aA]){_NAME_ENDS}
        | (?P<comment>!--)
        | (?:[!?]|/(?![a-zA-Z>]))[^>]*>?
        | (?=[stixnSTIXN])(?P<raw>(?i:{_RAW})){_NAME_ENDS}{_ATTRIBUTES}>?
        | /?[a-zA-Z](?=[^>=<]*[=<]){_ATTRIBUTES}>?
    )""",
    re.VERBOSE | re.ASCII,
)
_COMMENT_END = re.compile(r"--!?>")
_RAW_ENDS = {
    name: re.compile(rf"</{name}{_NAME_ENDS}", re.IGNORECASE | re.ASCII)
    for name in _RAW.split("|")
}
_ATTRIBUTE = re.compile(r"""[\s/]*(=?[^\s/>=]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]*)))?""")
_INSIDE = re.compile(
    rf"<!--.*?(?:-->|\Z)|<(?P<raw>script|style)\b.*?(?:</(?P=raw)\b[^>]*>?|\Z)|</?[a-z]{_ATTRIBUTES}>?",
    re.DOTALL | re.IGNORECASE | re.ASCII,
)
_REFERENCE = re.compile(r"&(?:#(?:[0-9]+|[xX][0-9a-fA-F]+);?|[a-zA-Z][a-zA-Z0-9]*(?:;|(?!=)))")


#: What ends a link that is open: `</a>`, or the next link in either form.
_ENDINGS = frozenset({"text", "attributes", "end"})
_ENDS_LINK = frozenset({None, "a", "A"})


def anchors(markup: str) -> Iterator[tuple[str, str, str]]:
    """Yield name, href and text of all `a`, `area` and `base` tags that lead somewhere.

    In order; only `a` has a text.  Linear in the length of *markup*.
    """
    #: The href of the link that is open, and where its text begins.
    href, begin = None, 0
    position = 0
    while found := _TAG.search(markup, position):
        position, kind = found.end(), found.lastgroup
        if href is not None and kind in _ENDINGS and found["link"] in _ENDS_LINK:
            yield "a", href, _text(markup, begin, found.start())
            href = None
        if kind == "text":
            yield "a", found["href"], found["text"]
        elif kind == "attributes":
            is_whole = position > found.end("attributes")
            leads_to = _href(found["attributes"]) if is_whole else None
            tag = found["link"].lower()
            if tag == "a":
                href, begin = leads_to, position
            elif leads_to is not None:
                yield tag, leads_to, ""
        elif kind == "comment":
            position = _comment_end(markup, position)
        elif kind == "raw":
            ending = _RAW_ENDS[found["raw"].lower()].search(markup, position)
            position = len(markup) if ending is None else ending.start() + 1
    if href is not None:
        yield "a", href, _text(markup, begin, len(markup))


def _comment_end(markup: str, begin: int) -> int:
    for empty in (">", "->"):
        if markup.startswith(empty, begin):
            return begin + len(empty)
    ending = _COMMENT_END.search(markup, begin)
    return len(markup) if ending is None else ending.end()


def _href(attributes: str) -> str | None:
    """Return the value of the first href, None where there is none."""
    for found in _ATTRIBUTE.finditer(attributes):
        name, double, single, bare = found.groups()
        if name.lower() == "href":
            value = double or single or bare or ""
            return _REFERENCE.sub(_decoded, value) if "&" in value else value
    return None


def _decoded(reference: re.Match[str]) -> str:
    """Return what a reference in an attribute means: a name without ; must be complete."""
    text = reference[0]
    if text.startswith("&#"):
        return unescape(text)
    return html5.get(text[1:], text)


def _text(markup: str, begin: int, end: int) -> str:
    text = markup[begin : min(end, begin + MAX_TEXT_MARKUP)]
    if "<" in text:
        text = _INSIDE.sub("", text)
    if "&" in text:
        text = unescape(text)
    return text[:MAX_TEXT]
