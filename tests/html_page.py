"""What a page of HTML holds."""

import json
import re
from html.parser import HTMLParser
from typing import Any


class Page(HTMLParser):
    """Elements, attributes and texts of a page; `parts` holds the text of each script and style."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.parts: dict[str, list[str]] = {"script": [], "style": []}
        self.text: list[str] = []
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag in self.parts:
            self._inside = tag
            self.parts[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.parts[self._inside][-1] += data
        else:
            self.text.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.parts["script"][0])
        return found
