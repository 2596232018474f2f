"""Blind review (rule 5): what a reviewer sees of an answer names nobody and tells nobody what to grade.

    text ─► canonical form ─► markers ─► self-identification ─► sentences that grade ─► and again

The canonical form undoes disguises: compatibility characters, invisible ones, HTML, Markdown. Matching is
done on a *skeleton* of the same length, in which lookalike letters of other scripts are Latin ones. Encodings
that a reader must decode on purpose (base64, ROT13, reversed words) are not looked for.
"""

from __future__ import annotations

import html
import re
import threading
import unicodedata
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cache, lru_cache

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
    with _MAKING:
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

_UNUSUAL = re.compile(r"[^ -~\n\t]")  # all but line ends and the ASCII that shows
_BLANK = {"\u115f", "\u1160", "\u3164", "\uffa0", "\u2800"}  # letters that show nothing
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,30});", re.IGNORECASE)
_COMMENT = re.compile(r"<!--.*?(?:-->|$)|<!\[CDATA\[|\]\]>", re.DOTALL)
_BREAK = re.compile(r"<\s*/?(?:br|p|div|li|ul|ol|tr|td|h\d)\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-z][^<>]*>", re.IGNORECASE)
_LINE_END = re.compile(r"[\r\u2028\u2029\x0b\x0c]")
_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()]*\)|\bhttps?://\S+|\bwww\.\S+")
_MARKDOWN = re.compile(
    r"(?<![A-Z])\*+|\*+(?!\d)"  # HLA-B*57:01 stays
    r"|`+|~~+|(?m:^[ \t]*(?:#{1,6}|>+|[-+•·])[ \t]+)|={3,}|-{4,}|_{3,}"
)
_DISGUISE = re.compile(r"&|<|\[|\]|\*|`|~|--|==|__|://|www\.")
"""Without one of these none of the above is found in a line that begins with a letter or digit."""
_WRITTEN_OUT = re.compile(r"[™®©¼-¾⅐-⅟↉]|(?<=\d)[²³¹⁰⁴-⁹]")


def strip_invisible(text: str) -> str:
    """The text without what shows nothing: format and control characters (line ends stay), fillers."""
    return _UNUSUAL.sub(lambda match: "" if _invisible(match[0]) else match[0], text)


@lru_cache(maxsize=4096)
def _invisible(char: str) -> bool:
    overlay = "\u0300" <= char <= "\u036f" or "\u20d0" <= char <= "\u20ff" or "\ufe00" <= char <= "\ufe0f"
    return overlay or char in _BLANK or unicodedata.category(char) in ("Cf", "Cc", "Co", "Cn", "Cs")


def _canonical(text: str) -> tuple[str, int]:
    """Disguises undone; counts hidden comments."""
    if text.isascii() and text.isprintable() and text[:1].isalnum() and not _DISGUISE.search(text):
        return text, 0
    removed = 0
    while True:
        before = text
        text = _ENTITY.sub(lambda match: html.unescape(match[0]), text)
        if not text.isascii():
            text = _WRITTEN_OUT.sub(_written_out, text)
            text = unicodedata.normalize("NFKC", text)
        text = strip_invisible(_LINE_END.sub("\n", text))
        text, comments = _COMMENT.subn("", text)
        removed += comments
        text = _TAG.sub("", _BREAK.sub("\n", text))
        text = _LINK.sub(lambda match: match[1] or "", text)
        text = _MARKDOWN.sub("", text)
        if text == before:
            return text, removed


def _written_out(match: re.Match[str]) -> str:
    """1½ is not 11/2 and 10⁶ is not 106, though NFKC says so; trade marks say nothing."""
    if match[0] in "™®©":
        return ""
    plain = unicodedata.normalize("NFKC", match[0])
    if "⁄" not in plain:
        return f"^{plain}"
    before = match.string[match.start() - 1 : match.start()]
    return (" " if before.isdigit() else "") + plain.replace("⁄", "/")


_LOOKALIKES: dict[int, int | str] = {
    **str.maketrans("авсеёԁһіїјкмнорԛѕтуѵԝхз", "abceedhiijkmhopqstyvwx3"),  # Cyrillic
    **str.maketrans("αβγεηικμνορστυςχω", "abyenikmvopotusxw"),  # Greek
    **str.maketrans("ıɑɡʀꜱᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘᴛᴜᴠᴡʏᴢ", "iagrsabcdefghijklmnoptuvwyz"),  # small capitals
    **str.maketrans("øłđðօսհոց", "olddouhng"),
    **str.maketrans("‐‑‒–−—", "----- "),
    **dict.fromkeys(map(ord, "‘’‛`´ʼ′"), "'"),
    **dict.fromkeys(map(ord, "“”„«»"), '"'),
}
_OTHER = r"[`\x80-\U0010ffff]"  # what may look like something else
_OTHERS = re.compile(f"{_OTHER}{_OTHER}*")  # not `+`: `re` finds faster what begins with one character


def skeleton(text: str) -> str:
    """What the text looks like, for matching: lower case, no accents, all Latin; of the same length."""
    if text.isascii():
        return text.lower()
    return _OTHERS.sub(lambda match: "".join(map(_looks, match[0])), text).lower()


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
    r"<\|[^<>|]{0,40}\|>|\[/?(?:inst|sys|system|user|assistant)\]|<{2,}|>{2,}"
    r"|(?m:^[ \t]*(?:system|assistant|user|human|developer)\s*:)"
    r"|\b(?:[0-9a-f]{16}\b|recommendation\s+[a-l]\s*:)"
)
_CASE = re.compile(r"case(?<=\bcase)[\W_]*(begin|end)\b")  # letters first: they are sought much faster


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


def _cut(text: str, spans: list[tuple[int, int]]) -> str:
    """The text with a space in place of each span."""
    if not spans:
        return text
    kept, at = [], 0
    for start, end in sorted(spans):
        kept.append(text[at : max(at, start)])
        at = max(at, end)
    return " ".join([*kept, text[at:]])


_MAKING = threading.Lock()  # 150 ms to compile: a pool of threads at its first reviews waits for one of them


@lru_cache(maxsize=8)
def _identity(names: frozenset[str]) -> _Step:
    """The step that takes self-identification out, for these names and the known makers."""
    known = {skeleton(unicodedata.normalize("NFKC", name)) for name in (*names, *rules.MAKERS)}
    clauses = rules.identity_patterns(rules.name_pattern(known))
    patterns = [re.compile(f"(?P<kept>{rules.KEPT})|{clause}") for clause in clauses]
    # That a text holds neither a name nor one of the two clauses without any is soon told.
    nameless = re.compile(f"{clauses[0]}|{clauses[-1]}")
    spelled = [letters for letters in map(rules.letters, known) if len(letters) > 1]

    def step(text: str) -> tuple[str, int]:
        removed = 0
        seen = skeleton(text)
        bare = rules.letters(seen)
        if any(map(bare.__contains__, spelled)) or nameless.search(seen):
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
_CLAUSE_END = re.compile(r"[.!?;。！？；؟।\n](?:(?<=\S[.!?;])[\"')\]]*\s+|(?<=[。！？；؟।])|(?<=\n)\n*)")
_SENTENCE_END = re.compile(r"[.!?。！？؟।\n](?:(?<=\S[.!?])[\"')\]]*\s+|(?<=[。！？؟।])|(?<=\n)\n*)")


def _sentences(text: str) -> tuple[str, int]:
    """Take out what grades or only says who writes: the bracket, else the clause, else the sentence."""
    removed = 0
    tells = cache(_tells)  # a clause is often the whole sentence; forgotten on return
    for spans in (_within(_BRACKETS), _between(_CLAUSE_END), _between(_SENTENCE_END)):
        telling = [(start, end) for start, end in spans(text) if tells(text[start:end])]
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


_PIECES = re.compile(r"(?<=[a-z])(?:[^\w\s§]|_)+(?=[a-z])")
_LEET = re.compile(r"(?:[0-9@$][a-z]|[a-z@$][0-9@$])[\w@$]*")
_SPACED = re.compile(r"(?<![^\W_])(?:[^\W_][\W_]+){3,}[^\W_](?![^\W_])")


def _tells(sentence: str) -> bool:
    """Whether a sentence tells a reviewer what to grade, however spelled, or what its writer is."""
    if not sentence.isascii() and rules.FOREIGN_SCRIPTS.search(sentence.casefold()):
        return True
    seen = skeleton(sentence)
    if rules.IDENTITY_SENTENCE.search(seen):
        return True
    bare = rules.CLINICAL.sub("§", seen)
    readings = {
        bare.replace("_", " "),
        _PIECES.sub("", bare),  # gr-a.d_e
        _LEET.sub(_unleet, bare),  # gr4de
    }
    if any(rules.GRADING.search(reading) or rules.FOREIGN.search(reading) for reading in readings):
        return True
    if rules.RUN_TOGETHER.search(rules.letters(bare)):
        return True
    return any(rules.SPACED_OUT.search(rules.letters(run)) for run in _SPACED.findall(seen))


def _unleet(word: re.Match[str]) -> str:
    return word[0].translate(str.maketrans("4@013$57", "aaoiesst"))


_LEFT_OVER = re.compile(r"[ .!?,(\[][,;:.!?)\]]")


def _tidy(text: str) -> str:
    """Single spaces, and no punctuation left over from what was taken out."""
    text = " ".join(text.split())
    if text[-1:] not in ",;:(—–-" and not _LEFT_OVER.search(" " + text):
        return text
    text = re.sub(r"\(\s*[,;:.]?\s*\)|\[\s*\]", "", text)
    text = re.sub(r"([.!?])(?:\s*[,;:]|\s+[.!?](?=\s|$))+", r"\1", text)
    text = re.sub(r"\s+([,;)]|[:.](?=\s|$))", r"\1", text)
    text = re.sub(r",(?:\s*,)+", ",", text)
    return re.sub(r"^[\s,;:)!?]+|^\.(?=\s|$)|(?:[\s,;:(—–]|\s-)+$", "", text)
