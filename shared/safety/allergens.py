"""Allergies as people write them → allergens: codes of classes and ingredients, digests of unknown names.

`allergens` reads one entry of a list of allergies ("penicillin (anaphylaxis)", "NKDA"), where a name that is
not known counts too. `told_in` reads sentences, sparingly: a name counts where it stands beside a word for an
allergy ("allergic to penicillin", "sulfa allergy", "hives after amoxicillin"), in a clause that neither
denies it nor speaks of a relative or a possibility.
"""

from __future__ import annotations

import re

from shared.medications import ingredients, is_unknown
from shared.medications.classes import class_named

_SIGN = (
    r"anaphyla(?:xis|ctic (?:shock|reaction)|ctoid reaction)|angio-?o?edema|hives|urticaria"
    r"|(?:skin )?rash|bronchospasm|stevens[- ]johnson syndrome|sjs|toxic epidermal necrolysis|ten|dress"
)
_LEAD = (
    r"(?: (?:taking|starting|receiving|having|using|being given|(?:a|the|his|her|their|one|first)(?: \w+)?"
    r" (?:dose|course|tablet|injection|infusion) of))?"
)
_BEFORE = re.compile(  # what stands before the name
    r"(?P<strong>\b(?:allerg(?:ic|y|ies)|anaphylactic|hypersensitiv(?:e|ity))(?: reactions?)? (?:to|of)\b"
    r"|\b(?:drug |medication |known )?(?:allergies|allergy|adrs?)(?: list| history)?"
    r"(?: ?[:=] ?| - | include[sd]? | are | is )"
    r"|\bexcept(?:ing| for)?\b|\b(?:other than|apart from|aside from|save for)\b)"
    r"|\bintoleran(?:t|ces?) (?:to|of)\b|\breact(?:ed|s) (?:badly |severely )?to\b"
    rf"|\b(?:{_SIGN}|(?:adverse |allergic |severe )?reactions?)"
    rf" (?:to|from|after|following|on|due to|because of|caused by|induced by|secondary to|while)\b{_LEAD}",
)
_AFTER = re.compile(  # what stands after it
    r"[ -](?:drug |medication )?(?:allerg(?:y|ies|ic)|hypersensitivity|anaphylaxis|intolerances?)\b"
    r"|,? (?:which |that )?(?:has |have |had )?(?:once |previously |also )?"
    r"(?:caused|gave|triggered|provoked|led to)(?! no\b| not\b| neither\b)"
    rf"(?: \w+){{0,4}}? (?:{_SIGN})\b"
)
_GIVEN = re.compile(  # "was given amoxicillin and within minutes developed hives"
    rf"\b(?:given|took|taken|received)(?= )(?P<tail>[^;]*?\band\b(?:(?!\bnot?\b|\bnever\b)[^;])*?"
    rf"\b(?:developed|broke out in|came out in)\b(?:(?!\bnot?\b)[^;,]){{0,40}}?\b(?:{_SIGN})\b)"
)
_DENIED = re.compile(
    r"(?:n't|\b(?:no|not|non|never|none|nil|den(?:y|ies|ied|ying)|without|negative for|free of|neither|nor"
    r"|unlikely|absence of|if|unless|whether|in case of|rule out|nobody|nkd?a))\b"
)
_REFUTED = re.compile(
    r"^\W*(?:(?:was|is|were|has been|have been|had been|label|test(?:ing)?|skin test|status) )*"
    r"(?:later |since )?(?:none|nil|no|not|negative|denied|absent|unlikely|ruled out|excluded|de-?labell?ed"
    r"|disprov\w+|refuted|removed|unknown)\b"
)
_RELATIVE = re.compile(
    r"\b(?:mother|father|sister|brother|son|daughter|family|parents?|wife|husband|partner|aunt|uncle|cousin"
    r"|grand\w+|siblings?|twin|relatives?)\b(?!.*\b(?:he|she|they|patient|child|boy|girl|infant|baby"
    r"|says|said|reports?|states?|notes?|tells|recalls?|mentions?|remembers?)\b)"
)
_EXCEPT = re.compile(r"except|other than|apart|aside|save")
_ALLERGY = re.compile(r"allerg|\bnkd?a\b|hypersensitiv")
_CLAUSE = re.compile(
    r"(?<=[.!?])\s+(?=\D)|[;\n]+|,? (?:but|however|although|though|yet|whereas|while (?=he|she))\b"
    r"|(?:,| and)+ (?=(?:he|she|they|is|was|has|had|reports?|takes?|the patient)\b)"
)
_PART = re.compile(r"\s*(?:[,;/+&\n]|\band\b|\bor\b)\s*(?:[-*•]\s*)?(?:(?:also|and|or|to)\b\s*)*")
_TAIL = re.compile(
    r"\s*(?:[:=→(\[]|--?>| [-–—] |\b(?:which|that|caus\w+|with|gives?|gave|results?|resulting|since|in|at|as"
    r"|from|after|when|reactions?|allerg\w+|anaphylaxis|hypersensitivity|intolerance)\b).*",
    re.DOTALL,
)
_HEAD = re.compile(
    r"^[\W_]*(?:(?:the|an?|any|all|both|known|possible|probable|severe|history of|oral|iv"
    r"|(?:intoleran\w+|sensitiv\w+|reactions?) (?:to|of))\b\s*)*"
)
_STOP = re.compile(
    r"(?:takes?|taking|is|was|were|are|has|have|had|he|she|they|who|his|her|it|for|on|currently|medications?"
    r"|meds|lives|presents|because|not|nothing|none?|no|neither|nil|nkd?a|denie[sd]|unknown|unsure|n/?a)\b"
)
_ANSWERED_NO = re.compile(r"[^.?!\n]*\?\s*(?:no|none|never|denie[sd])\b")
_BRACKETS = re.compile(r"[(\[]([^)\]]*)[)\]]?")
_LIST = re.compile(
    r"(?:[^.\n]|\.(?=\S)|\n\s*[-*•])*"
)  # a list of allergies goes on over bullets and semicolons


def allergens(entry: str, key: bytes = b"") -> frozenset[str]:
    """The allergens of one entry of a patient's list of allergies: classes and ingredients, unknown digests.

    "sulfa drugs - rash" → {"sulfonamide"}; "NKDA" → none. `key` as for `ingredients`.
    """
    text = _plain(entry)
    told = told_in(text, key)
    if told or _denies(text):
        return told
    inside = frozenset().union(*(_known(part, key) for part in _BRACKETS.findall(text)))
    return _listed(_BRACKETS.sub(" ", text), key, unknown=True) | inside


def told_in(text: str, key: bytes = b"") -> frozenset[str]:
    """The allergens that sentences tell of the patient; a denial tells none."""
    plain = _ANSWERED_NO.sub(" ", _plain(text))
    found: set[str] = set()
    start = 0
    for end in [*(gap.span() for gap in _CLAUSE.finditer(plain)), (len(plain), len(plain))]:
        found |= _clause(plain, start, end[0], key)
        start = end[1]
    return frozenset(found)


def _clause(text: str, start: int, end: int, key: bytes) -> set[str]:
    clause = text[start:end]
    found: set[str] = set()
    for trigger in _BEFORE.finditer(clause):
        before, tail = clause[: trigger.start()], clause[trigger.end() :]
        if _EXCEPT.match(trigger[0]):
            if _ALLERGY.search(before):
                found |= _listed(tail, key, unknown=True)
        elif not _off(before):
            heading = trigger[0].rstrip()[-1] in ":=-"
            whole = _LIST.match(text, start + trigger.end()) if heading else None
            found |= _listed(whole[0] if whole else tail, key, unknown=trigger["strong"] is not None)
    for trigger in _AFTER.finditer(clause):
        before = clause[: trigger.start()]
        if not _off(before) and not _REFUTED.match(clause[trigger.end() :]):
            found |= _ending(before, key, plural="ies" in trigger[0])
    for trigger in _GIVEN.finditer(clause):
        if not _off(clause[: trigger.start()]):
            found |= _listed(trigger["tail"], key, unknown=False)
    return found


def _plain(text: str) -> str:
    """Lower case with plain spaces and quotes; lines and bullets stay."""
    return re.sub(r"[^\S\n]+", " ", text.casefold().replace("’", "'").replace("‑", "-")).strip()


def _denies(entry: str) -> bool:
    return _STOP.match(entry) is not None or not re.search(r"\w", entry)


def _off(before: str) -> bool:
    """Whether what stands before a trigger in its clause denies it, or gives it to a relative."""
    return bool(_DENIED.search(before) or _RELATIVE.search(before))


def _listed(text: str, key: bytes, *, unknown: bool) -> frozenset[str]:
    """The names at the beginning of a text: "penicillin (rash) and sulfa, which …"; until one is no name."""
    found: set[str] = set()
    for part in _PART.split(_BRACKETS.sub(" ", text)):
        head = _HEAD.sub("", part).strip(" .\n")
        if not head:
            continue
        if _STOP.match(head):
            break
        name = _TAIL.sub("", head).strip(" .-")
        codes = _leading(name, key)
        if not codes and unknown and name and len(name.split()) <= 4:
            codes = frozenset(filter(is_unknown, ingredients(name, key)))
        if not codes:
            break
        found |= codes
        if re.search(r"\b(?:which|that|takes?)\b", head):
            break
    return frozenset(found)


def _leading(text: str, key: bytes) -> frozenset[str]:
    """What the longest known name at the beginning of a text stands for."""
    words = text.split()
    return next(
        (c for n in range(min(5, len(words)), 0, -1) if (c := _known(" ".join(words[:n]), key))), _NONE
    )


def _ending(text: str, key: bytes, *, plural: bool) -> frozenset[str]:
    """The names at the end of a text: "has penicillin and sulfa" → both; commas join only where plural."""
    found: set[str] = set()
    joined = re.compile(r"(.*?)(?:\s*[/&]|\s+and|\s+or|,\s*and|,\s*or" + ("|," if plural else "") + r")\s*$")
    while True:
        words = text.split()
        for n in range(min(5, len(words)), 0, -1):
            name = " ".join(words[-n:])
            if "," not in name and (codes := _known(name, key)):  # "on lisinopril, penicillin allergy"
                break
        else:
            return frozenset(found)
        found |= codes
        before = joined.match(" ".join(words[:-n]))
        if before is None:
            return frozenset(found)
        text = before[1]


_NONE: frozenset[str] = frozenset()


def _known(name: str, key: bytes) -> frozenset[str]:
    """The class and the ingredients that a name stands for; empty where any part of it is not known."""
    name = name.strip(" .,-'\"")
    codes = ingredients(name, key) if name else ()
    found = frozenset() if any(map(is_unknown, codes)) else frozenset(codes)
    class_ = class_named(name)
    return found | {class_} if class_ else found
