"""A page as a reader and a screen reader find it."""

from __future__ import annotations

from html.parser import HTMLParser


class Page(HTMLParser):
    """What a reader and a screen reader find."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[dict[str, str | None]] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.addresses += [value for key, value in values.items() if key in ("src", "href", "srcset") and value]
        if tag == "img":
            self.images.append(values)
        if tag not in ("img", "input", "meta", "link", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
