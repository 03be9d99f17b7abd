"""Pages as sites have them, and as only broken ones do, made from a seed."""

from __future__ import annotations

from random import Random

URLS = (
    "/x1 /x2/y.html http://h.example.org/?a=1&b=2 ?a=1&amp;b=2 //h.example.org/z c/d?e "
    "../up #top mailto:x@example.com https://example.com/é"
).split()
#: References that a parser has to read as in attributes; hrefs that say little.
ODD_URLS = ["?x&copy=3", "?x&copy;y", "/q?&#65;&#x42;", "/a&notit;", "/p&lt", "a b", "", " /s "]
WORDS = "one two &amp; three it's “q” &copy; été <b>x</b>".split()
ODD_WORDS = ['"q"', "a>b", "a<b", "</p", "&"]
#: Values of other attributes, in which nothing is a link.
VALUES = ["x", "a > b", "<a href=no>", "href=no", "it's", 'say "x"']
ODD = (
    "<!x <a href=no> y>",
    "<?php <a href=no> ?>",
    "<![CDATA[<a href=no>]]>",
    "</ <a href=no>>",
    "<!-->",
    "<!--->",
    "<!-- <a href=no> --!>",
    "<1a href=no>",
    "<ab href=no>",
    "<link href=no>",
    "<a/href=slash>t</a>",
    "<a href>e</a>",
    "<a\thref=t1\n>",
    "<a href=1 href=no>",
    "<a =href=no href=4>",
    "<a b='c'href=d>",
    "</a href=no>",
    "<textarea><a href=no></textarea><iframe><a href=no></iframe>",
    "<table><tr><td><a href=td>x</table>",
    "<base href=/base/>",
)


def made_page(seed: int, *, broken: bool = False) -> str:
    random = Random(seed)
    parts = [_part(random, broken) for _ in range(random.randrange(5, 30))]
    page = (
        "<!doctype html><html><head><title>x <a href=no></title></head><body>"
        + "".join(parts)
        + "</body></html>"
    )
    return page[: random.randrange(len(page))] if broken and random.random() < 0.3 else page


def _part(random: Random, broken: bool) -> str:
    kind = random.randrange(9 if broken else 8)
    if kind < 4:
        return _anchor(random, broken)
    if kind == 4:
        return "<!-- <a href=no> -- > <a href=no>\n-->"
    if kind == 5:
        tag = random.choice(["script", "style", "SCRIPT"])
        return f"<{tag} type='t'>if (a<b) '<a href=no>'</{tag}>"
    if kind == 6:
        title = _attribute(random, "title", random.choice(VALUES), broken)
        return f"<div{title} class='x y'>{_words(random, broken)}</div>"
    if kind == 7:
        return f"<p>{_words(random, broken)}</p>\n"
    return random.choice(ODD)


def _anchor(random: Random, broken: bool) -> str:
    tag = random.choice(["a", "a", "A", "area"])
    url = random.choice(ODD_URLS if broken and random.random() < 0.4 else URLS)
    attributes = [_attribute(random, "href", url, broken)]
    for _ in range(random.randrange(3)):
        name = random.choice(["class", "title", "data-href", "onclick", "rel"])
        attributes.append(_attribute(random, name, random.choice(VALUES), broken))
    random.shuffle(attributes)
    if tag == "area":
        return f"<area{''.join(attributes)}>"
    end = random.choice(["</a>", "</A >", "", "<img src=x>t</a>"]) if broken else "</a>"
    return f"<{tag}{''.join(attributes)}>{_words(random, broken)}{end}"


def _attribute(random: Random, name: str, value: str, broken: bool) -> str:
    quote = random.choice(['"', '"', "'", "" if broken else '"'])
    if quote:
        value = value.replace(quote, "")
    else:
        value = "".join(each for each in value if each not in " <>=\"'`") or "v"
    space = random.choice([" ", "\n", "  "]) if broken else " "
    equals = random.choice(["=", " = "]) if broken else "="
    return f"{space}{random.choice([name, name.upper()])}{equals}{quote}{value}{quote}"


def _words(random: Random, broken: bool) -> str:
    words = WORDS + ODD_WORDS if broken else WORDS
    return " ".join(random.choice(words) for _ in range(random.randrange(1, 6)))
