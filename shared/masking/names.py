"""Names that no record gives, by what is around them: titles, relatives, signatures, labels, given names."""

from __future__ import annotations

import re
from collections.abc import Iterator

from shared.masking.spans import Reading, bare
from shared.masking.words import (
    AFTER_EPONYM,
    AMBIGUOUS,
    AS_SUBJECT,
    DISEASES,
    EPONYMS,
    PARTICLES,
    SUFFIXES,
    TITLES,
    given_names,
    is_condition,
    is_drug,
    no_names,
)
from shared.medications.words import word_set

RELATIVES = word_set(
    """
    daughter son wife husband mother father mom mum dad brother sister partner spouse fiance fiancee
    niece nephew aunt uncle cousin grandmother grandfather grandson granddaughter stepson stepdaughter
    friend neighbor neighbour roommate girlfriend boyfriend caregiver carer caretaker guardian twin
    colleague interpreter coworker patient pt client resident gentleman lady veteran
    """
)
_BEFORE = frozenset(
    tuple(pair.split("_"))
    for pair in word_set(
        """
        signed_by off_by dictated_by transcribed_by referred_by here_by seen_by today_by evaluated_by
        examined_by reviewed_by reviewed_with discussed_with spoke_with spoke_to speaking_with in_by
        accompanied_by followed_by for_by ordered_by prescribed_by performed_by authored_by care_of
        interviewed_by appointment_with consulted_with lives_with name_is known_as goes_by addressed_as
        himself_as herself_as visited_by helped_by assisted_by by_nurse met_with
        """
    )
)
_BEFORE_ONE = word_set("named called ask asked tell told thank thanks hi hello dear hey met")
_LABELS = word_set(
    """
    name patient pt attending pcp physician provider doctor surgeon nurse author cc kin nok contact
    spouse guardian signed signature attn resident pharmacist therapist interpreter surname forename
    """
)
_AGED = r"(?:(?:years?|yrs?)[ -]*(?:old\b|of age\b|,?[ \t]*(?:fe)?male\b)|yo|y/o|y\.o)"
_AFTER = re.compile(
    r"(?:,?[ \t]+(?:is|was)|,)[ \t]+(?:an?[ \t]+)?(?:\w+[ \t]+)?"
    rf"(?:\d{{1,3}}[ -]*{_AGED}|\[90 years or older)"
    r"|[ \t]*[,(][ \t]*aged?[ \t]+\d{1,3}[ \t]*[,)]"
    r"|(?P<number>[ \t]*[,(][ \t]*\d{1,3}[ \t]*[,)]"
    r"|(?:,|[ \t]+(?:is|was))[ \t]+\d{1,3}[ \t]years?\b"
    r"(?![ \t]*(?:ago|prior|before|earlier|later|after|post|of)\b))"
    r"|,[ \t]+(?:MD|M\.D\.|DO|RN|NP|PA-C|PharmD|PhD|Ph\.D\.|FNP|APRN|CRNA|DNP|MBBS|LCSW)\b"
    r"|[ \t]+(?:denies|endorses|reports|complains|states|says|tells|admits|asks|recalls)\b"
    r"|['’]s[ \t]+(?:wife|husband|mother|father|daughter|son|sister|brother|family|"
    r"home|house|chart|appointment)\b"
)
_ENDINGS = tuple(
    word_set(
        """
        itis osis emia ology ectomy otomy pathy gram scopy plasty uria algia trophy plegia rrhea rrhoea cillin
        mycin azole pril sartan statin olol idine amide azepam oxacin vascular tension ation ness ment ious
        ical itive ally tional ography ization isation
        """
    )
)
_GAP = re.compile(r"[ \t]{1,2}|-")
_INITIAL_GAP = re.compile(r"\.?[ \t]{0,2}")
_LABEL_GAP = re.compile(r"[ \t]*[:=][ \t]*")
_SPOKEN_TITLES = frozenset(("mr", "mrs", "ms", "dr"))
_SHORT_TITLES = _SPOKEN_TITLES | {"drs", "prof"}
_MOST = 5  # words of a name


def named(reading: Reading) -> Iterator[tuple[int, int]]:
    """(start, end) of every name that something around it, or a common given name, gives away."""
    at = 0
    while at < len(reading.words):
        capital = reading.plain[reading.words[at][1]].isupper()
        last = _name_from(reading, at) if capital else None
        if last is None:
            at += 1
            continue
        if _given_away(reading, at, last):
            word, start, _ = reading.words[last]
            yield reading.words[at][1], start + len(bare(word))
        at = last + 1
    if not reading.starts.keys().isdisjoint(_SPOKEN_TITLES):
        yield from _spoken(reading)


def _name_from(reading: Reading, at: int) -> int | None:
    """The last word of the capitalised words from `at` that could be a name; None if none can."""
    if not _could_name(reading, at):
        return None
    last, ahead = at, at + 1
    while ahead < min(len(reading.words), at + 2 * _MOST) and last - at < _MOST:
        word, start, _ = reading.words[ahead]
        before, _, end = reading.words[ahead - 1]
        gap = _INITIAL_GAP if len(before) == 1 else _GAP
        if not gap.fullmatch(reading.plain[end:start]):
            break
        if _could_name(reading, ahead, within=True):
            last = ahead
        elif word not in PARTICLES:
            break
        ahead += 1
        if before.endswith("'s"):
            break
    if len(reading.words[at][0]) == 1 and last == at:
        return None
    if len(reading.words[last][0]) == 1 and last > at:
        last -= 1
    return last


def _could_name(reading: Reading, at: int, *, within: bool = False) -> bool:
    """A word with a capital that is no word of a heading, drug, abbreviation or clinical term.

    `within`: behind another word of a name, where White and Ward are names.
    """
    word, start, end = reading.words[at]
    written = reading.plain[start:end]
    if not written[0].isupper() or any(char.isdigit() for char in word):
        return False
    if len(word) == 1:  # an initial, by its point or the name behind it
        return True
    word = bare(word)
    if word in no_names() and not (within and word in AMBIGUOUS):
        return False
    if word in TITLES or word in SUFFIXES:
        return False
    if written.isupper() and len(written) <= 4:
        return False
    if len(word) > 6 and word.endswith(_ENDINGS) and word not in AMBIGUOUS:
        return False
    return word in given_names() or word in EPONYMS | AMBIGUOUS or not (is_drug(word) or is_condition(word))


def _given_away(reading: Reading, first: int, last: int) -> bool:
    """Whether something around the words says that they are a name."""
    words, text = reading.words, reading.plain
    start, end = words[first][1], words[last][2]
    final = bare(words[last][0])
    one = words[first - 1][0] if first else ""
    two = words[first - 2][0] if first > 1 else ""
    gap = text[words[first - 1][2] : start] if first else ""
    following = words[last + 1][0] if last + 1 < len(words) else ""
    disease = final in EPONYMS and words[last][0] != final  # "mother Alzheimer's", "Father Prostate cancer"
    disease = disease or (following in DISEASES and text[words[last + 1][1]].islower())
    if disease and one in RELATIVES:
        return False
    titled = one in TITLES and text[words[first - 1][1]].isupper() and not is_drug(f"{one} {words[first][0]}")
    if titled and (gap.lstrip(".").isspace() or (gap == "." and one in _SHORT_TITLES)):
        return True
    if final in EPONYMS and following in AFTER_EPONYM:
        return False
    if bare(words[first][0]) in given_names():
        return True
    if following in DISEASES and disease:
        return False
    if gap.strip(' \t,("“:') == "" and "\n" not in gap and gap:
        if one in RELATIVES and (":" not in gap) and (text[words[first - 1][1]].islower() or last > first):
            return not text.startswith(":", end)
        if (two, one) in _BEFORE or one in _BEFORE_ONE:
            return True
        if one in _LABELS and _LABEL_GAP.fullmatch(gap):
            return last > first or one in ("name", "surname", "forename")
    after = _AFTER.match(text, words[last][1] + len(final))
    if after is None or after["number"] is None:
        return after is not None
    return last > first and "-" not in text[start:end]  # "Hb (12)" and "Ehlers-Danlos, 12 years" are nobody


def _spoken(reading: Reading) -> Iterator[tuple[int, int]]:
    """Dictation without capitals: the word behind a title with its point, behind a given name one more."""
    words, text = reading.words, reading.plain
    for at in range(len(words) - 1):
        title, start, end = words[at]
        gap = text[end : words[at + 1][1]]
        if title not in _SPOKEN_TITLES or not text[start].islower() or gap.rstrip(" ") != ".":
            continue
        last = at + 1
        if not _speakable(words[last][0]):
            continue
        if words[last][0] in given_names() and last + 1 < len(words) and _speakable(words[last + 1][0]):
            last += text[words[last][2] : words[last + 1][1]] == " "
        yield words[at + 1][1], words[last][1] + len(bare(words[last][0]))


def _speakable(word: str) -> bool:
    word = bare(word)
    return len(word) > 2 and word.isalpha() and word not in no_names() | AS_SUBJECT and not is_drug(word)
