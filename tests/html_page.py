"""What the tests of written pages ask of their HTML."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

HOSTILE = "\"'><script>window.hacked=1</script><img src=x onerror=window.hacked=1>{{7*7}}.wav"
EMPTY = ("meta", "img", "source", "br", "rect", "input")  # tags that hold nothing


class Page(HTMLParser):
    """Tags with their attributes, text by the tag that holds it, and table rows."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: dict[str, list[str]] = {}
        self.rows: list[str] = []
        self._open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "tr":
            self.rows.append("")
        if tag not in EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            assert self._open.pop() == tag, f"{tag} closes another tag"

    def handle_data(self, data: str) -> None:
        if self._open:
            self.text.setdefault(self._open[-1], []).append(data)
        if "tr" in self._open:
            self.rows[-1] += f"{data} "

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def code(self) -> dict[str, str]:
        return {tag: "".join(self.text[tag]) for tag in ("script", "style")}

    @property
    def prose(self) -> str:
        """All text that a reader sees."""
        return "".join("".join(parts) for tag, parts in self.text.items() if tag not in ("script", "style"))


def data_of(address: str, kind: str) -> bytes:
    head, _, body = address.partition(",")
    assert head == f"data:{kind};base64"
    return base64.b64decode(body, validate=True)


def check_that_nothing_is_fetched(text: str) -> None:
    """And that only the page's own script may run."""
    page = Page(text)
    for _, attributes in page.tags:
        for name in ("src", "srcset", "href"):
            assert attributes.get(name, "#").startswith(("data:", "#"))
        assert not any(name.startswith("on") or name == "style" for name in attributes)
    assert not re.search(r"(?:https?:)?//[a-z]|@import|url\(", re.sub(r"data:[^\"]*", "", text))
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for tag, code in page.code.items():
        assert f"{tag}-src 'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'" in policy
