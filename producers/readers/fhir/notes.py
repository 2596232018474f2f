"""DocumentReference and Composition → notes in plain text."""

from __future__ import annotations

import base64
import binascii
import zlib
from html.parser import HTMLParser

from producers.readers.fhir.chart import Note, Retracted, Source, Unused
from producers.readers.fhir.node import Fault, Node, clean

MAX_NOTE = 20_000  # characters: no vignette holds more
_BLOCKS = frozenset({"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol"})


def document(source: Source) -> Note:
    """A DocumentReference's first attachment in plain text. Raises `Fault` (never grave), `Unused`."""
    node = source.node
    try:
        status = node.code("status")
        if status in ("superseded", "entered-in-error") or node.code("docStatus") == "entered-in-error":
            raise Retracted(f"status {status}")
        text = next((found for content in node.children("content") if (found := _attached(content))), "")
        if not text:
            raise Unused("no attachment in plain text or XHTML")
        context = node.child("context")
        encounters = context.children("encounter") if context and isinstance(context.value, dict) else []
        encounter = source.resolve(encounters[0].text("reference"), "Encounter") if encounters else ""
        return _note(node, text, encounter, "date", "created", "indexed")
    except Fault as fault:
        fault.grave = False
        raise


def composition(source: Source) -> Note:
    """A Composition's sections as text. Raises `Fault` (never grave), `Unused`."""
    node = source.node
    try:
        if node.code("status") == "entered-in-error":
            raise Retracted("status entered-in-error")
        text = "\n\n".join(_sections(node, 0))
        if not text:
            raise Unused("no section with text")
        return _note(node, text, source.refers("encounter", "Encounter"), "date")
    except Fault as fault:
        fault.grave = False
        raise


def unpacked(note: Note) -> str:
    """The text of a note."""
    return zlib.decompress(note.packed).decode()


def _note(node: Node, text: str, encounter: str, *dates: str) -> Note:
    what = node.concept("type")
    packed = zlib.compress(clean(text).strip()[:MAX_NOTE].encode())
    return Note(what.label[:200] if what else "Note", node.when(*dates), encounter, packed)


def _attached(content: Node) -> str:
    attachment = content.child("attachment")
    if attachment is None or not attachment.has("data"):
        return ""
    kind, _, rest = attachment.text("contentType").lower().partition(";")
    kind = kind.strip()
    if kind not in ("", "text/plain", "text/html", "application/xhtml+xml", "text/markdown"):
        return ""
    data = attachment.value["data"]
    try:
        raw = base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError, AttributeError):
        raise Fault(attachment.at("data"), "is not base64: encode the note anew") from None
    charset = "latin-1" if "8859-1" in rest or "latin" in rest else "utf-8"
    text = raw.decode(charset, errors="replace")
    return text_of_html(text) if "html" in kind else text


def _sections(node: Node, depth: int) -> list[str]:
    parts = []
    for section in node.children("section"):
        narrative = section.child("text")
        words = text_of_html(narrative.text("div")) if narrative is not None else ""
        if words:
            parts.append("\n".join(each for each in (section.text("title"), words) if each))
        if depth < 5:
            parts += _sections(section, depth + 1)
    return parts


def text_of_html(html: str) -> str:
    """The text of (X)HTML, a line for each block."""
    reader = _Text()
    try:
        reader.feed(html)
        reader.close()
    except AssertionError:  # the parser's own, for markup it does not know
        pass
    lines = (" ".join(line.split()) for line in "".join(reader.parts).splitlines())
    return "\n".join(line for line in lines if line)


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        self.hidden += tag in ("script", "style")
        self.parts.append("\n" if tag in _BLOCKS else " ")

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in ("script", "style") and self.hidden > 0
        self.parts.append("\n" if tag in _BLOCKS else " ")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.parts.append(data)
