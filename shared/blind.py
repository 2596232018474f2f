"""Blind review (rule 5): what a reviewer sees of an answer names nobody and tells nobody what to grade.

    text ─► canonical form ─► markers ─► self-identification ─► sentences that grade ─► and again

The canonical form undoes disguises: compatibility characters, invisible ones, HTML, Markdown. Matching is
done on a *skeleton* of the same length, in which lookalike letters of other scripts are Latin ones. Encodings
that a reader must decode on purpose (base64, ROT13, reversed words) are not looked for.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache

from shared import blind_rules as rules
from shared.medications import generic_name
from shared.schemas import Medication, Recommendation

RATIONALE_CAP = 2_000
"""Characters of a rationale that a reviewer sees."""
_CAPS = {"name": 80, "dose": 80, "route": 40, "frequency": 80, "indication": 120}


@dataclass(frozen=True)
class Scrubbed:
    """A text on one line and how many phrases were taken out of it."""

    text: str
    removed: int


@dataclass(frozen=True)
class Rendered:
    """An answer as reviewers see it and how many phrases were taken out of it."""

    text: str
    removed: int


def render_answer(recommendation: Recommendation, names: Collection[str]) -> Rendered:
    """The one format in which reviewers see an answer: decision, numbered orders, rationale.

    A drug is shown by its generic name where the table knows it; all else is the model's text, scrubbed and
    capped. `names` are all that a model may call itself by.
    """
    scrubber = _Tally(names)
    lines = [f"Decision: {recommendation.decision}"]
    for number, medication in enumerate(recommendation.medications, start=1):
        lines.append(f"{number}. {medication.action} {_order(medication, scrubber)}")
    rationale = _cap(scrubber(recommendation.rationale[: 2 * RATIONALE_CAP]), RATIONALE_CAP)
    lines.append(f"Rationale: {rationale or 'none given'}")
    return Rendered("\n".join(lines), scrubber.removed)


class _Tally:
    """A scrubber that counts."""

    def __init__(self, names: Collection[str]) -> None:
        self.names = names
        self.removed = 0

    def __call__(self, text: str) -> str:
        done = scrub(text, self.names)
        self.removed += done.removed
        return done.text


def _order(medication: Medication, scrubber: _Tally) -> str:
    name = generic_name(medication.name)
    if name is None:
        name = _cap(scrubber(medication.name), _CAPS["name"]) or "unnamed drug"
    fields = {
        "dose": re.sub(r"(?<=\d)(?=(?:mg|mcg|g|ml|units)\b)", " ", scrubber(medication.dose)),
        "route": _plain(scrubber(medication.route)),
        "frequency": _plain(scrubber(medication.frequency)),
        "indication": re.sub(
            r"^for\s+", "", scrubber(medication.indication).rstrip(" ."), flags=re.IGNORECASE
        ),
    }
    shown = [_cap(value, _CAPS[field]) for field, value in fields.items() if field != "indication" and value]
    if fields["indication"]:
        shown.append(f"for {_cap(fields['indication'], _CAPS['indication'])}")
    details = ", ".join(shown)
    if details and scrub(details, scrubber.names).removed:  # an instruction spread over fields
        scrubber.removed += 1
        details = ""
    return f"{name}, {details}" if details else name


_SHORTHAND = {
    "po": "oral",
    "orally": "oral",
    "by mouth": "oral",
    "per os": "oral",
    "iv": "intravenous",
    "intravenously": "intravenous",
    "im": "intramuscular",
    "sc": "subcutaneous",
    "sq": "subcutaneous",
    "subcut": "subcutaneous",
    "sl": "sublingual",
    "inh": "inhaled",
    "top": "topical",
    "topically": "topical",
    "daily": "once daily",
    "qd": "once daily",
    "od": "once daily",
    "once a day": "once daily",
    "every day": "once daily",
    "bid": "twice daily",
    "twice a day": "twice daily",
    "tid": "three times daily",
    "three times a day": "three times daily",
    "qid": "four times daily",
    "four times a day": "four times daily",
    "qhs": "at bedtime",
    "prn": "as needed",
}


def _plain(text: str) -> str:
    """Shorthand written out: how a model abbreviates tells who it is."""
    return _SHORTHAND.get(text.lower().replace(".", ""), text)


def _cap(text: str, length: int) -> str:
    if len(text) <= length:
        return text
    return text[: length - 1].rpartition(" ")[0].rstrip(" ,;:") + "…"


def scrub(text: str, names: Collection[str]) -> Scrubbed:
    """One line without self-identification, markers and sentences that tell a reviewer what to grade.

    `names` are the registry's (models, versions, families); known makers and products are added. Eponyms
    stay: "Parkinson's disease" even where a family is called parkinson. Scrubbing twice changes nothing more.
    """
    removed = 0
    identity = _identity(frozenset(names))
    while True:
        before = text
        text, count = _canonical(text)
        removed += count
        for step in (_markers, identity, _sentences):
            text, count = step(text)
            removed += count
        text = _tidy(text)
        if text == before:
            return Scrubbed(text, removed)


# The canonical form --------------------------------------------------------------------------------------

_BLANK = {"\u115f", "\u1160", "\u3164", "\uffa0", "\u2800"}  # letters that show nothing
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,30});", re.IGNORECASE)
_COMMENT = re.compile(r"<!--.*?(?:-->|$)|<!\[CDATA\[|\]\]>", re.DOTALL)
_BREAK = re.compile(r"<\s*/?(?:br|p|div|li|ul|ol|tr|td|h\d)\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-z][^<>]*>", re.IGNORECASE)
_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()]*\)|\bhttps?://\S+|\bwww\.\S+")
_MARKDOWN = re.compile(
    r"(?<![A-Z])\*+|\*+(?!\d)"  # HLA-B*57:01 stays
    r"|`+|~~+|(?m:^[ \t]*(?:#{1,6}|>+|[-+•·])[ \t]+)|={3,}|-{4,}|_{3,}"
)


def strip_invisible(text: str) -> str:
    """The text without what shows nothing: format and control characters (line ends stay), fillers."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c for c in text if not _invisible(c))


def _invisible(char: str) -> bool:
    if char in "\n\t":
        return False
    overlay = "\u0300" <= char <= "\u036f" or "\u20d0" <= char <= "\u20ff" or "\ufe00" <= char <= "\ufe0f"
    return overlay or char in _BLANK or unicodedata.category(char) in ("Cf", "Cc", "Co", "Cn", "Cs")


def _canonical(text: str) -> tuple[str, int]:
    """Disguises undone; counts hidden comments."""
    removed = 0
    while True:
        before = text
        text = _ENTITY.sub(lambda match: html.unescape(match[0]), text)
        if not text.isascii():
            text = "".join(map(_compatible, text, " " + text))
            text = unicodedata.normalize("NFKC", text)
        text = strip_invisible(re.sub(r"[\r\u2028\u2029\x0b\x0c]", "\n", text))
        text, comments = _COMMENT.subn("", text)
        removed += comments
        text = _TAG.sub("", _BREAK.sub("\n", text))
        text = _LINK.sub(lambda match: match[1] or "", text)
        text = _MARKDOWN.sub("", text)
        if text == before:
            return text, removed


def _compatible(char: str, previous: str) -> str:
    """1½ is not 11/2 and 10⁶ is not 106, though NFKC says so; trade marks say nothing."""
    if char in "™®©":
        return ""
    kind = unicodedata.decomposition(char).partition(" ")[0]
    if kind == "<fraction>":
        plain = unicodedata.normalize("NFKC", char).replace("⁄", "/")
        return f" {plain}" if previous.isdigit() else plain
    if kind == "<super>" and char.isdigit() and previous.isdecimal():
        return f"^{unicodedata.normalize('NFKC', char)}"
    return char


_LOOKALIKES: dict[int, int | str] = {
    **str.maketrans("авсеёԁһіїјкмнорԛѕтуѵԝхз", "abceedhiijkmhopqstyvwx3"),  # Cyrillic
    **str.maketrans("αβγεηικμνορστυςχω", "abyenikmvopotusxw"),  # Greek
    **str.maketrans("ıɑɡʀꜱᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘᴛᴜᴠᴡʏᴢ", "iagrsabcdefghijklmnoptuvwyz"),  # small capitals
    **str.maketrans("øłđðօսհոց", "olddouhng"),
    **str.maketrans("‐‑‒–−—", "----- "),
    **dict.fromkeys(map(ord, "‘’‛`´ʼ′"), "'"),
    **dict.fromkeys(map(ord, "“”„«»"), '"'),
}


def skeleton(text: str) -> str:
    """What the text looks like, for matching: lower case, no accents, all Latin; of the same length."""
    if text.isascii():
        return text.lower()
    return "".join(map(_looks, text))


@lru_cache(maxsize=4096)
def _looks(char: str) -> str:
    code = ord(char)
    for first in (0x1F130, 0x1F150, 0x1F170, 0x1F1E6):  # letters in boxes and flags
        if first <= code < first + 26:
            return chr(ord("a") + code - first)
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    plain = unicodedata.normalize("NFKD", char)[:1].lower().translate(_LOOKALIKES)
    return plain if len(plain) == 1 else char


# What is taken out ---------------------------------------------------------------------------------------

_Step = Callable[[str], tuple[str, int]]
_CHAT = re.compile(
    r"<\|[^<>|]{0,40}\|>|\[/?(?:inst|sys|system|user|assistant)\]|<{2,}|>{2,}|\b[0-9a-f]{16}\b"
    r"|(?m:^[ \t]*(?:system|assistant|user|human|developer)\s*:)|\brecommendation\s+[a-l]\s*:"
)
_CASE = re.compile(r"\bcase[\W_]*(begin|end)\b")


def case_markers(text: str) -> Iterable[re.Match[str]]:
    """Imitations of the lines CASE BEGIN and CASE END: in capitals, or alone on a line. Group 1 is which."""
    for match in _CASE.finditer(skeleton(text)):
        line = text[: match.start()].rpartition("\n")[2] + text[match.end() :].partition("\n")[0]
        if not line.strip(" \t#*-=:.") or text[match.start() : match.end()].isupper():
            yield match


def _markers(text: str) -> tuple[str, int]:
    spans = [match.span() for match in case_markers(text)]
    spans += [match.span() for match in _CHAT.finditer(skeleton(text))]
    return _cut(text, spans), len(spans)


def _cut(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """The text with a space in place of each span."""
    kept, at = [], 0
    for start, end in sorted(spans):
        kept.append(text[at : max(at, start)])
        at = max(at, end)
    return " ".join([*kept, text[at:]])


@lru_cache(maxsize=8)
def _identity(names: frozenset[str]) -> _Step:
    """The step that takes self-identification out, for these names and the known makers."""
    name = rules.name_pattern(
        {skeleton(unicodedata.normalize("NFKC", name)) for name in (*names, *rules.MAKERS)}
    )
    patterns = [re.compile(f"(?P<kept>{rules.KEPT})|{pattern}") for pattern in rules.identity_patterns(name)]

    def step(text: str) -> tuple[str, int]:
        removed = 0
        for pattern in patterns:
            found = pattern.finditer(skeleton(text))
            spans = [match.span() for match in found if not match["kept"]]
            text = _cut(text, spans)
            removed += len(spans)
        while signature := rules.SIGNATURE.search(skeleton(text)):
            text = text[: signature.start()].rstrip()
            removed += 1
        return text, removed

    return step


_BRACKETS = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
_CLAUSE_END = re.compile(r"(?<=\S[.!?;])[\"')\]]*\s+|(?<=[。！？；؟।])|\n+")
_SENTENCE_END = re.compile(r"(?<=\S[.!?])[\"')\]]*\s+|(?<=[。！？؟।])|\n+")


def _sentences(text: str) -> tuple[str, int]:
    """Take out what grades or only says who writes: the bracket, else the clause, else the sentence."""
    removed = 0
    for spans in (_within(_BRACKETS), _between(_CLAUSE_END), _between(_SENTENCE_END)):
        telling = [(start, end) for start, end in spans(text) if _tells(text[start:end])]
        text = _cut(text, telling)
        removed += len(telling)
    return text, removed


def _within(pattern: re.Pattern[str]) -> Callable[[str], list[tuple[int, int]]]:
    return lambda text: [match.span() for match in pattern.finditer(text)]


def _between(pattern: re.Pattern[str]) -> Callable[[str], list[tuple[int, int]]]:
    def spans(text: str) -> list[tuple[int, int]]:
        ends = [match.end() for match in pattern.finditer(text)]
        return list(zip([0, *ends], [*ends, len(text)], strict=True))

    return spans


def _tells(sentence: str) -> bool:
    """Whether a sentence tells a reviewer what to grade, however spelled, or what its writer is."""
    if rules.FOREIGN_SCRIPTS.search(sentence.casefold()):
        return True
    seen = skeleton(sentence)
    if rules.IDENTITY_SENTENCE.search(seen):
        return True
    bare = rules.CLINICAL.sub("§", seen)
    readings = {
        bare.replace("_", " "),
        re.sub(r"(?<=[a-z])(?:[^\w\s§]|_)+(?=[a-z])", "", bare),  # gr-a.d_e
        re.sub(r"[a-z@$]*[0-9@$][a-z][\w@$]*|[a-z@$]+[0-9@$][\w@$]*", _unleet, bare),  # gr4de
    }
    if any(rules.GRADING.search(reading) or rules.FOREIGN.search(reading) for reading in readings):
        return True
    if rules.RUN_TOGETHER.search(re.sub(r"[\W_]+", "", bare)):
        return True
    runs = re.findall(r"(?<![^\W_])(?:[^\W_][\W_]+){3,}[^\W_](?![^\W_])", seen)
    return any(rules.SPACED_OUT.search(re.sub(r"[\W_]+", "", run)) for run in runs)


def _unleet(word: re.Match[str]) -> str:
    return word[0].translate(str.maketrans("4@013$57", "aaoiesst"))


def _tidy(text: str) -> str:
    """Single spaces, and no punctuation left over from what was taken out."""
    text = " ".join(text.split())
    text = re.sub(r"\(\s*[,;:.]?\s*\)|\[\s*\]", "", text)
    text = re.sub(r"([.!?])(?:\s*[,;:]|\s+[.!?](?=\s|$))+", r"\1", text)
    text = re.sub(r"\s+([,;)]|[:.](?=\s|$))", r"\1", text)
    text = re.sub(r",(?:\s*,)+", ",", text)
    return re.sub(r"^[\s,;:)!?]+|^\.(?=\s|$)|(?:[\s,;:(—–]|\s-)+$", "", text)
