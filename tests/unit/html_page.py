"""An HTML page as a browser parses it."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """Elements of a page as a browser parses it, with the text inside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.ended: list[str] = []
        self.text: dict[str, list[str]] = {}
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.text.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        self.ended.append(tag)

    def handle_data(self, data):
        if self.elements and self.lasttag in ("script", "style"):
            self.text[self.lasttag][-1] += data
