"""Files → resources, each with where it stands: JSON, NDJSON, Bundles, CDS Hooks requests; XML is refused."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from producers.readers.fhir.node import instant
from shared.errors import RecordError

MAX_DOCUMENT = 64 * 1024 * 1024
"""Longest JSON document and longest line of NDJSON that is read, in bytes: this bounds the memory."""
MAX_TEXT = 1024 * 1024
"""Characters that are kept of what is set aside by itself; of a longer text the beginning."""
_DEEPEST = 5  # Bundles in Bundles
_RESOURCE = re.compile(rb'(?<!\\)"(?:resourceType|hookInstance|fhirServer)(?<!\\)"\s*:\s*"')
_XML = re.compile(rb"<\?xml|<[A-Za-z:]*\b[^>]*http://hl7\.org/fhir")
_PATIENT = re.compile(r'"(?:reference)"\s*:\s*"[^"]*?(Patient/[^"/\s]{1,200})"')
_DELETED = re.compile(r"(?:^|/)([A-Z][A-Za-z]+/[A-Za-z0-9.\-]{1,64})$")  # not a conditional one
_KIND = re.compile(r'"resourceType"\s*:\s*"([A-Za-z]{1,60})"')

Inputs = Sequence[tuple[str, IO[bytes]]]


@dataclass(frozen=True)
class Located:
    """A resource and where it stands."""

    file: str = field(repr=False)
    line: int  # 1-based; 1 for anything but NDJSON
    path: str  # "Bundle.entry[12].resource", or "Patient" for one that stands alone
    kind: str
    value: dict[str, Any] = field(repr=False)
    request: str = field(default="", repr=False)  # of a CDS hook, as JSON on one line
    url: str = field(default="", repr=False)  # Bundle.entry.fullUrl
    aliases: Mapping[str, str] = field(default_factory=dict, repr=False)  # fullUrl → key, in its Bundle
    patients: tuple[str, ...] = field(default=(), repr=False)  # keys of its Bundle's patients
    draft: bool = False  # an order that a CDS hook is asked about
    size: int = 0  # bytes, about

    @property
    def nameless(self) -> str:
        """The key of a Patient without id: by its place."""
        return f"Patient/without-id-{self.line}-{self.path}"


@dataclass(frozen=True)
class Unreadable:
    """Something of the input that holds no resource that can be read."""

    file: str = field(repr=False)
    error: RecordError
    text: str = field(default="", repr=False)
    patient: str = field(default="", repr=False)  # key, where a broken line still names one
    kind: str = ""  # the resource type, where it still says so


@dataclass(frozen=True)
class Page:
    """A Bundle that is a page of a search: its own address, and the next one's ("" for the last)."""

    file: str = field(repr=False)
    line: int
    path: str
    url: str = field(repr=False)
    next: str = field(repr=False)


@dataclass(frozen=True)
class Deleted:
    """An entry of a Bundle that says of a resource, by its key, that it was deleted; when, if it says so."""

    key: str = field(repr=False)
    at: dt.datetime | None


Found = Located | Unreadable | Deleted | Page


def looks_like_fhir(head: bytes | Mapping[str, Any]) -> bool:
    """Whether an input is FHIR (JSON, NDJSON, XML) or a CDS Hooks request, by its first object or bytes.

    A few kilobytes are enough: `resourceType` is looked for outside of strings.
    """
    if isinstance(head, Mapping):
        return isinstance(head.get("resourceType"), str) or _is_hook(head)
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"<"):
        return _XML.match(head) is not None and b"http://hl7.org/fhir" in head
    return head[:1] in (b"{", b"[") and _RESOURCE.search(head) is not None


def resources(
    inputs: Inputs, seen: Callable[[bytes], object] = lambda _bytes: None
) -> Iterator[Located | Unreadable | Deleted]:
    """Every resource of the inputs, in order; of an NDJSON file one line is held at a time.

    `seen` is told all bytes as they are read. Last come search results that go on in a page which is not
    among the inputs.
    """
    here: set[str] = set()
    following: dict[str, Page] = {}
    for name, stream in inputs:
        for found in _file(name, stream, seen):
            if not isinstance(found, Page):
                yield found
                continue
            here.add(found.url)
            if found.next:
                following[found.next] = found
    for page in following.values():
        if page.next not in here:
            reason = (
                "the search goes on in a page that is not in the input: fetch all pages, and send them too"
            )
            yield _bad(page.file, page.line, "incomplete", reason, page.path)


def _file(name: str, stream: IO[bytes], seen: Callable[[bytes], object]) -> Iterator[Found]:
    lines = _lines(stream, seen)
    held: list[tuple[int, bytes]] = []
    for numbered in lines:  # blank lines before the first do not matter
        if numbered[1].strip():
            held = [numbered]
            break
    if not held:
        yield _bad(name, 1, "empty", "the file is empty: leave it out, or fetch it again")
        return
    number, first = held[0]
    if first.lstrip().startswith(b"<"):
        reason = "is XML: FHIR is read as JSON; convert it, or ask the server for JSON"
        yield _bad(name, number, "fhir_xml", reason, text=_beginning(first, lines))
        return
    if _parsed(first) is not None or not _begins_document(first):
        for number, line in itertools.chain(held, lines):
            if line.strip():
                yield from _line(name, number, line)
        return
    seen(rest := stream.read(MAX_DOCUMENT + 1))
    whole = first + rest
    if len(whole) > MAX_DOCUMENT:
        yield _too_long(name, 1)
    else:
        yield from _document(name, 1, whole, lone=True)


def _lines(stream: IO[bytes], seen: Callable[[bytes], object]) -> Iterator[tuple[int, bytes]]:
    """Numbered lines; of one that is too long only the beginning is kept."""
    longest = MAX_DOCUMENT + 2
    for number in itertools.count(1):
        line = stream.readline(longest + 1)
        if not line:
            return
        seen(line)
        yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        while len(line) > longest and not line.endswith(b"\n"):
            seen(line := stream.readline(longest + 1))


def _beginning(first: bytes, lines: Iterator[tuple[int, bytes]]) -> str:
    """The text of a file that is not read, up to `MAX_TEXT`."""
    text = bytearray(first)
    for _number, line in lines:
        if len(text) > MAX_TEXT:
            break
        text += line
    return text[:MAX_TEXT].decode(errors="replace").strip()


def _begins_document(first: bytes) -> bool:
    """Whether a first line that is no JSON of its own begins a document of many lines."""
    return first.strip()[-1:] in b"{[,:" or (not first.endswith(b"\n") and not first.rstrip().endswith(b"}"))


def _parsed(raw: bytes) -> Any:
    """The JSON value; None if it is none. Raises nothing."""
    try:
        return _load(raw)
    except RecordError:
        return None


def _load(raw: bytes) -> Any:
    try:
        return json.loads(raw.decode(), parse_constant=_no_constant, object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        raise RecordError("not_utf8", f"byte {error.start + 1} is not UTF-8: save it as UTF-8") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise RecordError("not_json", f"{error.msg} at {place}: is it cut short?") from None
    except ValueError:
        raise RecordError("not_json", "a number has too many digits: correct it") from None
    except RecursionError:
        raise RecordError("not_json", "nested too deeply to be FHIR: correct it") from None


def dumped(value: Any) -> str:
    """A JSON value on one line; "" where it is nested too deeply to be written."""
    try:
        return json.dumps(value)
    except RecursionError:
        return ""


def _no_constant(_name: str) -> Any:
    raise RecordError("not_json", "NaN and Infinity are not JSON: leave the element out")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):  # which of the two was meant is not for us to guess
        raise RecordError("duplicate_field", "a field stands twice in one object: keep one of them")
    return value


def _line(name: str, number: int, raw: bytes) -> Iterator[Found]:
    if len(raw.rstrip(b"\r\n")) > MAX_DOCUMENT:
        yield _too_long(name, number)
    else:
        yield from _document(name, number, raw, lone=False)


def _document(name: str, number: int, raw: bytes, *, lone: bool) -> Iterator[Found]:
    try:
        value = _load(raw)
    except RecordError as error:
        text = raw.decode(errors="replace").strip()
        patients, kind = set(_PATIENT.findall(text)), _KIND.search(text)
        yield _bad(
            name,
            number,
            error.code,
            error.reason,
            text=text,
            patient=patients.pop() if len(patients) == 1 and not lone else "",
            kind=kind[1] if kind and not lone else "",
        )
        return
    each = value if isinstance(value, list) else [value]
    for place, one in enumerate(each):
        prefix = f"[{place}]" if isinstance(value, list) else ""
        if isinstance(one, dict) and _is_hook(one):
            yield from _hook(name, number, one, len(raw))
        elif isinstance(one, dict) and one.get("resourceType") == "Bundle":
            yield from _bundle(name, number, one, f"{prefix}Bundle", size=len(raw))
        elif isinstance(one, dict) and isinstance(one.get("resourceType"), str):
            kind = one["resourceType"]
            path = f"{prefix}.{kind}".lstrip(".") if prefix else kind
            yield Located(name, number, path, kind, one, size=len(raw))
        else:
            yield _bad(
                name,
                number,
                "not_fhir",
                "is no FHIR resource: it has no resourceType",
                prefix,
                dumped(one),
            )


def _bundle(
    name: str,
    number: int,
    bundle: Mapping[str, Any],
    path: str,
    *,
    request: str = "",
    draft: bool = False,
    depth: int = 0,
    size: int = 0,
) -> Iterator[Found]:
    """The resources of a Bundle, of any type; an entry that is itself a resource is taken as one."""
    entries = bundle.get("entry")
    if entries is None:
        entries = []
    if not isinstance(entries, list) or depth > _DEEPEST:
        reason = "is not a list of entries: write the Bundle as FHIR R4 has it"
        yield _bad(name, number, "fhir_element", reason, f"{path}.entry", dumped(bundle))
        return
    links = bundle.get("link")
    if isinstance(links, list):
        pages = {each.get("relation"): str(each.get("url") or "") for each in links if isinstance(each, dict)}
        yield Page(name, number, f"{path}.link", pages.get("self", ""), pages.get("next", ""))
    aliases: dict[str, str] = {}
    found: list[tuple[str, str, dict[str, Any]]] = []  # (path, fullUrl, resource)
    for place, entry in enumerate(entries):
        here = f"{path}.entry[{place}]"
        inner = entry.get("resource", entry) if isinstance(entry, dict) else None
        if not isinstance(inner, dict) or not isinstance(inner.get("resourceType"), str):
            if (
                isinstance(entry, dict)
                and "resource" not in entry
                and ("request" in entry or "response" in entry)
            ):
                if (deleted := _deleted(entry)) is not None:
                    yield deleted
                continue  # or the answer to a request: no resource is meant to be there
            yield _bad(name, number, "not_fhir", "holds no resource", here, dumped(entry))
            continue
        url = entry.get("fullUrl") if inner is not entry else None
        url = url if isinstance(url, str) else ""
        key = _key(inner, url)
        if url and key:
            aliases[url] = key
        found.append((f"{here}.resource" if inner is not entry else here, url, inner))
    patients = tuple(
        dict.fromkeys(_key(value, url) for _, url, value in found if value["resourceType"] == "Patient")
    )
    share = size // max(1, len(found)) + 1
    for here, url, value in found:
        if value["resourceType"] == "Bundle":
            yield from _bundle(
                name, number, value, here, request=request, draft=draft, depth=depth + 1, size=share
            )
        else:
            kind = value["resourceType"]
            yield Located(name, number, here, kind, value, request, url, aliases, patients, draft, share)


def _deleted(entry: Mapping[str, Any]) -> Deleted | None:
    request, response = entry.get("request"), entry.get("response")
    if not isinstance(request, dict) or request.get("method") != "DELETE":
        return None
    match = _DELETED.search(str(request.get("url") or ""))
    at = response.get("lastModified") if isinstance(response, dict) else None
    return Deleted(match[1], instant(at)) if match else None


def _key(value: Mapping[str, Any], url: str) -> str:
    """The key of a resource: its type and id; of one without an id the last part of its fullUrl."""
    identity = value.get("id")
    if not isinstance(identity, (str, int)) or isinstance(identity, bool) or not str(identity).strip():
        identity = re.split(r"[:/]", url)[-1]
    return f"{value['resourceType']}/{str(identity).strip()}" if str(identity).strip() else ""


def key_of_resource(found: Located) -> str:
    """The key by which others refer to it, "" if it has neither id nor fullUrl."""
    return _key(found.value, found.url)


def _is_hook(value: Mapping[str, Any]) -> bool:
    return isinstance(value.get("hook"), str) and isinstance(value.get("context"), Mapping)


def _hook(name: str, number: int, request: dict[str, Any], size: int) -> Iterator[Found]:
    """The resources of a CDS Hooks request: those of its context are orders that are being considered."""
    raw = dumped(request)

    def walk(value: Any, path: str, draft: bool, depth: int) -> Iterator[Found]:
        if not isinstance(value, dict) or depth > 6:
            return
        kind = value.get("resourceType")
        if kind == "Bundle":
            yield from _bundle(name, number, value, path, request=raw, draft=draft, size=size)
        elif isinstance(kind, str):
            yield Located(name, number, path, kind, value, raw, draft=draft, size=size)
        else:
            for part, inner in value.items():
                # what is not an order stands below `prefetch`, or as "item2" with its response beside it
                known = part == "prefetch" or (isinstance(inner, dict) and "response" in inner)
                yield from walk(inner, f"{path}.{part}", draft and not known, depth + 1)

    yield from walk(request.get("prefetch"), "prefetch", False, 0)
    yield from walk(request["context"], "context", True, 0)


def _too_long(name: str, number: int) -> Unreadable:
    limit = MAX_DOCUMENT // 1024**2
    return _bad(
        name,
        number,
        "too_long",
        f"longer than the {limit} MiB that are read: split the Bundle by patient, or export NDJSON",
    )


def _bad(
    name: str,
    number: int,
    code: str,
    reason: str,
    path: str = "",
    text: str = "",
    patient: str = "",
    kind: str = "",
) -> Unreadable:
    return Unreadable(name, RecordError(code, reason, path=path, line=number), text[:MAX_TEXT], patient, kind)
