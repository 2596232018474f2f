"""Names as prescribed → ingredients, by an exact-name table (`ingredients.csv`); nothing is guessed.

A name is looked up as it is, then without strengths, then without words for form, route, frequency and
device, then without salts; a combination is looked up whole before it is taken apart. Class names ("a
statin") and misspellings stay unknown. An unknown name becomes a keyed digest: ingredient codes stand outside
the sealed table, so they must not carry what a model or a source wrote.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib import resources

UNKNOWN = "unknown:"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NUMBERS = r"\d[\d.,]*(?:\s*[-/x]\s*\d[\d.,]*)*"
_UNIT = (
    r"(?:%|(?:mg|mcg|μg|ug|g|kg|ml|l|iu|(?:million )?units?|meq|mmol|puffs?|drops?)\b"
    r"|(?:tab(?:let)?|cap(?:sule)?)s?\b)"
)
_DOSE = re.compile(
    rf"(?<![\w#.]){_NUMBERS}(?:\s*-?\s*{_UNIT}(?:\s*/\s*(?:\d+\s*)?\w+)*)+"  # 40 mg, 875/125 mg, 2 g/day
    r"|\bq\.?\s*\d+(?:\s*-\s*\d+)?\s*h(?:ours?|rs?)?\b"  # q8h, q 4-6 hours
)
_BARE = re.compile(rf"(?<=\w\s)(?<![\w#.]){_NUMBERS}(?![\w-])")  # 70/30, 250 after a word; not the 5 of 5-ASA
_TAIL = re.compile(r"\bfor\b.*|\bas needed\b.*", re.DOTALL)  # an indication is no part of the name
_BRACKETS = re.compile(r"[(\[]([^()\[\]]*)[)\]]")
_STRONG = re.compile(r"/|\+|&|,|;|\band\b|\bwith\b|\bplus\b")
_FILLER = _words("""
    a an the of per each every other at in on by to before after meals meal food breakfast dinner
    bedtime morning evening night nightly noon day days daily week weeks weekly month months monthly
    hour hours hourly once twice thrice one two three four times time x now then od qd bid tid qid qam
    qpm qhs hs ac pc prn stat qod po iv im sc sq subq subcut subcutaneous subcutaneously sl pr pv os ou
    oral orally intravenous intravenously intramuscular sublingual rectal rectally vaginal vaginally
    inhaled inhalation inhaler inhalers nebulized nebulised nebulizer nebuliser neb nebs mdi hfa dpi
    topical topically transdermal ophthalmic otic nasal intranasal buccal mouth tablet tablets tab tabs
    capsule capsules cap caps suspension solution syrup elixir injection injectable infusion drip bolus
    cream ointment gel lotion foam shampoo patch patches spray drops drop eye ear suppository
    suppositories enema lozenge powder chewable odt er xr xl sr cr la ir dr ec mr extended immediate
    delayed sustained controlled modified release enteric coated low high dose dosed standard generic
    loading maintenance course diskus respimat handihaler turbuhaler ellipta flexpen kwikpen solostar
    pen vial mg mcg ml units ds
""")
_SALTS = _words("""
    hydrochloride hcl dihydrochloride sodium disodium potassium calcium magnesium zinc succinate
    tartrate bitartrate besylate besilate maleate fumarate mesylate mesilate tosylate sulfate sulphate
    bisulfate phosphate acetate citrate nitrate bromide hydrobromide chloride carbonate gluconate
    lactate propionate dipropionate furoate xinafoate valerate hyclate monohydrate dihydrate trihydrate
    anhydrous decanoate palmitate pamoate cypionate enanthate tromethamine olamine medoxomil diolamine
    hemihydrate salt
""")


def ingredients(name: str, key: bytes = b"") -> tuple[str, ...]:
    """The ingredient codes of a medication as prescribed, sorted, without repeats; never empty.

    "Lipitor 40 mg PO QHS" → ("atorvastatin",); "Augmentin" → ("amoxicillin", "clavulanate"). What is not in
    the table gives `unknown:` + 12 hex digits of HMAC-SHA256(key, normalised name): equal unknown names are
    equal codes, and no text leaks. Give a secret `key` wherever the code is stored, since a short name can be
    guessed from a digest without one. Of "aspirin and foozumab" the known part is told, the rest is unknown.
    """
    known, unknown = _resolve(name)
    digests = (UNKNOWN + hmac.new(key, part.encode(), hashlib.sha256).hexdigest()[:12] for part in unknown)
    return tuple(sorted({*known, *digests}))


def generic_name(name: str) -> str | None:
    """The name to show ("amoxicillin + clavulanate"), or None where any part of it is unknown."""
    known, unknown = _resolve(name)
    return None if unknown else " + ".join(known)


def is_unknown(code: str) -> bool:
    """Whether an ingredient code stands for a name the table does not know."""
    return code.startswith(UNKNOWN)


@lru_cache(maxsize=8192)
def _resolve(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The known ingredients of a name, and the normalised parts that are unknown; together never empty."""
    text = _fold(name)
    bare = _BRACKETS.sub(" ", text)
    for whole in (text, bare):
        if found := _lookup(whole):
            return found, ()
    outside = _parts(bare)
    if outside is None or outside[1]:  # "ASA (aspirin)" is settled by now; "unheard-of (aspirin)" is not
        for inside in _BRACKETS.findall(text):
            within = _parts(inside)
            if within is not None and not within[1]:
                return within
    return outside if outside is not None else ((), (_key(text) or text,))


def _parts(text: str) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Take a combination apart; None where nothing but filler is left."""
    if found := _lookup(text):
        return found, ()
    known: set[str] = set()
    unknown: list[str] = []
    for part in _STRONG.split(_DOSE.sub(" ", _TAIL.sub(" ", text))):
        if found := _lookup(part) or _hyphenated(part):
            known.update(found)
        elif rest := _reductions(part)[-2]:
            unknown.append(rest)
    if not known and not unknown:
        return None
    if not known:  # wholly unknown: one name, however it is punctuated
        unknown = [" ".join(unknown)]
    return tuple(sorted(known)), tuple(unknown)


def _hyphenated(part: str) -> tuple[str, ...]:
    """ "amoxicillin-clavulanate": a hyphen separates only where everything beside it is known."""
    pieces = [_lookup(piece) for piece in part.split("-")]
    return tuple({i for piece in pieces for i in piece}) if len(pieces) > 1 and all(pieces) else ()


def _lookup(text: str) -> tuple[str, ...]:
    """The ingredients under one of the reductions of a name, or ()."""
    table = _table()
    return next((table[key] for key in _reductions(text) if key in table), ())


def _reductions(text: str) -> list[str]:
    """A name ever barer: as it is; without doses; form, route, frequency; salts; again without numbers."""
    doseless = _DOSE.sub(" ", _TAIL.sub(" ", text))
    barer = [_key(text)]
    for weaker in (_key(doseless), _key(_BARE.sub(" ", doseless))):
        words = weaker.split()
        barer.append(weaker)
        while words and words[-1] in _FILLER:  # from the end first: "Ery-Tab" is a name, "tab" is none
            words.pop()
            barer.append(" ".join(words))
        words = [word for word in words if word not in _FILLER]
        barer += [" ".join(words), " ".join(word for word in words if word not in _SALTS)]
    return barer


def _fold(text: str) -> str:
    """Compatibility form, lower case, without accents, trade marks and apostrophes."""
    plain = re.sub(r"[®™©'’]", "", text).casefold()
    if plain.isascii():
        return plain
    decomposed = unicodedata.normalize("NFKD", plain).casefold()
    return "".join(c for c in decomposed if not unicodedata.combining(c) and unicodedata.category(c) != "Cf")


def _key(folded: str) -> str:
    """Letters and digits, single spaces: what the table is keyed by."""
    return " ".join(re.sub(r"[\W_]+", " ", folded).split())


@cache
def _table() -> dict[str, tuple[str, ...]]:
    """Normalised name → sorted ingredients. Raises `ValueError` if one name stands for two things."""
    table: dict[str, tuple[str, ...]] = {}
    for names, codes in _rows():
        for name in names:
            if table.setdefault(_key(_fold(name)), codes) != codes:
                raise ValueError(f"ingredients.csv: {name!r} stands for two things")
    return table


def _rows() -> Iterator[tuple[list[str], tuple[str, ...]]]:
    text = resources.files(__package__).joinpath("ingredients.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(line for line in text.splitlines() if not line.startswith("#")):
        codes = row["ingredients"].split(" + ")
        others = [name for field in ("synonyms", "brands") for name in row[field].split(";") if name]
        yield [row["ingredients"], *others], tuple(sorted(codes))
        for code in codes:
            yield [code], (code,)
