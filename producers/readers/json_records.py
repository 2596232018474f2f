"""The JSON reader: one record, an array of records, or an object around that array; streamed.

The text is split into the array's elements by its brackets, quotes and commas alone (RFC 8259), and each
element is then read as a line of NDJSON is: one that is bad is set aside, and the rest goes on.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import IO

from producers.readers.ndjson import MAX_LINE, read_record
from producers.readers.record import InputError, Read

WRAPPERS = (b"records", b"vignettes", b"cases", b"items", b"data")
"""Names of the member that holds the records, in an object around them."""
BLOCK = 64 * 1024
"""Bytes read at once; the array of a wrapper begins within the first."""

_PLAIN = re.compile(rb'["\[\]{},]')
_STRING = re.compile(rb'["\\]')
_ARRAY_FOLLOWS = re.compile(rb"\s*:\s*\[")
_BLANK = b" \t\r\n"


def read_json(stream: IO[bytes], file: str = "") -> Iterator[Read]:
    """The records of a JSON document, lazily, each with the line at which it begins.

    Raises `InputError` where the document is no JSON of records, or ends before its array does.
    """
    first = stream.read(BLOCK).removeprefix(b"\xef\xbb\xbf")
    at = array_begins(first)
    if at is None:
        if not first.strip():
            return
        if not first.lstrip().startswith(b"{"):
            raise InputError(file, 1, "is no JSON object or array", "see --input-format, or mend the file")
        blank = len(first) - len(first.lstrip())
        raw = first[blank:] + stream.read(max(0, MAX_LINE + len(_BLANK) - len(first)))
        yield read_record(1 + first.count(b"\n", 0, blank), raw.rstrip(), file)
        return
    blocks = itertools.chain([first[at:]], iter(lambda: stream.read(BLOCK), b""))
    elements = _Elements(blocks, 1 + first.count(b"\n", 0, at))
    for line, raw in elements:
        yield read_record(line, raw, file)
    if not elements.closed:
        raise InputError(
            file, elements.began, "the array does not end after what begins here", "is the file cut short?"
        )
    if first.lstrip().startswith(b"[") and any(block.strip() for block in elements.rest):
        raise InputError(file, elements.line, "something follows the array", "put all records into one array")


def array_begins(head: bytes) -> int | None:
    """Where the array's elements begin, by the document's first bytes; None: it is no array of records."""
    blank = len(head) - len(head.lstrip())
    if head[blank : blank + 1] == b"[":
        return blank + 1
    depth, at, key_from = 0, blank, None
    while match := (_PLAIN if key_from is None else _STRING).search(head, at):
        at, mark = match.end(), match[0]
        if key_from is not None:
            if mark == b"\\":
                at += 1
            else:
                named = depth == 1 and head[key_from : at - 1] in WRAPPERS
                if named and (follows := _ARRAY_FOLLOWS.match(head, at)):
                    return follows.end()
                key_from = None
        elif mark == b'"':
            key_from = at
        else:
            depth += (mark in b"[{") - (mark in b"]}")
            if depth == 0:
                return None
    return None


class _Elements:
    """Splits what follows an opening bracket into elements, up to the closing one; iterates once.

    Of an element that is too long only the beginning is kept, so that memory stays bounded.
    """

    def __init__(self, blocks: Iterator[bytes], line: int) -> None:
        self.rest = blocks  # what follows the array, once it is closed
        self.line = line  # of what is being read
        self.began = line  # of the element
        self.closed = False
        self._element = bytearray()

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        depth, inside, escaped, some = 0, False, False, False
        for block in self.rest:
            start, at, escaped = 0, int(escaped), False
            while match := (_STRING if inside else _PLAIN).search(block, at):
                at, mark = match.end(), match[0]
                if mark == b'"':
                    inside = not inside
                elif inside:  # a backslash: whatever comes next is no mark
                    at += 1
                    escaped = at > len(block)
                elif mark in b"[{":
                    depth += 1
                elif mark != b"," and depth:
                    depth -= 1
                elif not depth and mark in b",]":
                    self._keep(block[start : at - 1])
                    start = at
                    if self._element or mark == b"," or some:
                        some = True
                        yield self.began, bytes(self._element).rstrip(_BLANK)
                    self._element.clear()
                    if mark == b"]":
                        self.closed = True
                        self.rest = itertools.chain([block[at:]], self.rest)
                        return
            self._keep(block[start:])

    def _keep(self, piece: bytes) -> None:
        if not self._element:
            stripped = piece.lstrip(_BLANK)
            self.line += piece.count(b"\n", 0, len(piece) - len(stripped))
            self.began, piece = self.line, stripped
        self.line += piece.count(b"\n")
        self._element += piece[: MAX_LINE + 1 - len(self._element)]
