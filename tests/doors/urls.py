"""URLs, from plain ones to what only looks like one."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.doors.cases import texts

schemes = st.sampled_from(
    ["http://"] * 4 + ["https://"] * 4
    + ["HTTP://", "//", "", "http:/", "http:", "ftp://", "file:///", "javascript:", "data:"]
)  # fmt: skip
userinfo = st.sampled_from([""] * 6 + ["user@", "user:pass@", "@", ":@", "a@b@", "%00@"])
hosts = (
    st.sampled_from(
        [
            "example.com", "EXAMPLE.com.", "bücher.example", "xn--bcher-kva.example",
            "例え.テスト", "a.b.c.co.uk", "co.uk", "localhost", "127.0.0.1", "127.1", "0177.1",
            "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "[fe80::1%25eth0]", "[::1",
            "::1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "1.2.3.4.5", "",
            ".", "..", "a..b", "-a-", "_dmarc.example.com", "a b.com", "a\x00.com", "a%2eb.com",
            "１２７.0.0.1", "example。com", "a" * 64 + ".com", "a." * 130 + "com",
        ]
    )
    | texts
)  # fmt: skip
ports = st.sampled_from([""] * 6 + [":80", ":0", ":65535", ":65536", ":-1", ":x", ":", ":٣"])
paths = st.lists(
    st.sampled_from(["/", ".", "..", "a", "%2e%2e", "%", "%zz", ";x", "//", "é", "\t", "\n"])
    | texts,
    max_size=6,
).map("/".join)
tails = st.sampled_from(
    [""] * 4 + ["?", "?a=b", "?b&a", "?a=%20+é", "#x", "?#", "?a[]=1&a[]=2"]
)


@st.composite
def urls(draw: st.DrawFn) -> str:
    """Return a URL, or what is none; now and then one of 10 kB."""
    parts = [draw(part) for part in (schemes, userinfo, hosts, ports)]
    path = "/" + draw(paths)
    if draw(st.integers(0, 19)) == 0:
        path += draw(st.sampled_from(["x", "/..", "%41", "é"])) * 5000
    return "".join(parts) + path + draw(tails)


anything = urls() | texts
