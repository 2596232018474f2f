"""An order's text as words, with what stands between them: separators, doses, brackets."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from shared.medications.names import fold

SEPARATOR, BREAK, DOSE = 1, 2, 4
"""What can stand before a word (bits): a comma, slash or plus; the end of a line or sentence; a dose."""

_NUMBER = r"\.?\d+(?:[.,]\d+)*"
_NUMBERS = rf"{_NUMBER}(?:\s*(?:[-/x–]|to(?=\s))\s*{_NUMBER})*"
_MASS = (
    r"mgs?|milligrams?|mcgs?|micrograms?|[μµ]g|ug|g|gms?|grams?|kg|meq|mmol|iu|"
    r"(?:million |intl |international )?(?:units?|unt)|mu|u|%|percent"
)
_OTHER = (
    r"mls?|milliliters?|millilitres?|cc|l|liters?|litres?|oz|tsp|tbsp|teaspoons?|teaspoonfuls?|tablespoons?|"
    r"puffs?|inhalations?|sprays?|drops?|gtts?|tab(?:let)?s?|cap(?:sule)?s?|patch(?:es)?|actuat(?:ion)?s?|"
    r"vials?|amps?|packets?|doses?|pills?|lozenges?|suppositor(?:y|ies)|applications?|h|hrs?|hours?|d|days?|"
    r"wks?|weeks?|mo|months?|min|minutes?|yrs?|years?|times|x"
)
_PER = (
    r"ml|l|kg|m2|h|hr|hour|d|day|dose|actuat(?:ion)?|puff|spray|tab(?:let)?|cap(?:sule)?|"
    r"min|minute|mg|g|wk|week"
)
_TOKEN = re.compile(
    rf"(?P<dose>({_NUMBERS})\s*-?\s*(?:({_MASS})|({_OTHER}))(?![^\W_])((?:\s*/\s*(?:{_NUMBER}\s*)?(?:{_PER})\b)*))"
    rf"|(?P<word>(?:[a-z]\.){{2,}}[a-z]?(?![^\W_])|[a-z]{{6,}}(?=\d)|[^\W_]+)"
    r"|(?P<bracket>\x01)|(?P<end>[;:\n\r•|]|(?<=[^\W_]{4})\.(?=\s))|(?P<mark>[,/+&])"
)
_NUMERIC = re.compile(rf"{_NUMBERS}$")
_BRACKETS = re.compile(r"[(\[]([^()\[\]]*)[)\]]")
_GLUED = re.compile(r"(?<=[a-z])\((\w)\)")  # "Rho(D)": a letter of the name


@dataclass
class Tokens:
    """The words of a text (lower case, no accents) and, by word, what stands before it."""

    text: str
    """What `starts` and `ends` count in: as written where its letters are plain, else folded."""
    words: list[str] = field(default_factory=list)
    gaps: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    strengths: list[tuple[str, str, str]] = field(default_factory=list)
    """Doses with a unit of mass: number, unit, what it is in ("/ml"); in order."""
    counted: list[str] = field(default_factory=list)
    """Units of the other amounts: "tabs", "puffs", "ml"."""
    insides: list[tuple[int, str]] = field(default_factory=list)
    """What stands in brackets, each with the index of the next word after it."""
    dosed_at_end: bool = False

    def written(self, first: int, last: int) -> str:
        """The words `first` … `last` as they were written."""
        return self.text[self.starts[first] : self.ends[last]]

    def join(self, i: int) -> None:
        """Make one word of words i and i + 1."""
        self.words[i : i + 2] = [self.words[i] + self.words[i + 1]]
        self.ends[i : i + 2] = [self.ends[i + 1]]
        del self.starts[i + 1], self.gaps[i + 1]
        self.insides = [(at - (at > i), inside) for at, inside in self.insides]


def tokens(text: str) -> Tokens:
    """Take a text apart."""
    folded = fold(text).replace("\x01", " ")
    found = Tokens(text if len(folded) == len(text) else folded)
    inside: list[str] = []
    if "(" in folded or "[" in folded:
        folded = folded.replace("{", " ").replace("}", " ")
        folded = _GLUED.sub(r" \1 ", folded)
        folded = _BRACKETS.sub(lambda m: _keep(m[0], m[1], inside), folded)
    words, gaps, gap = found.words, found.gaps, 0
    brackets = iter(inside)
    for match in _TOKEN.finditer(folded):
        kind = match.lastgroup
        if kind == "word":
            word = match["word"]
            words.append(word.replace(".", "") if "." in word else word)
            gaps.append(gap)
            found.starts.append(match.start())
            found.ends.append(match.end())
            gap = 0
        elif kind == "dose":
            gap |= DOSE
            if match[3]:
                found.strengths.append((match[2], match[3], match[5]))
            else:
                found.counted.append(match[4])
        elif kind == "bracket":
            found.insides.append((len(words), next(brackets)))
        else:
            gap |= BREAK if kind == "end" else SEPARATOR
    found.dosed_at_end = bool(gap & DOSE)
    return found


def _keep(whole: str, inside: str, kept: list[str]) -> str:
    """Set what is in brackets aside, and a mark of the same length in its place."""
    kept.append(inside)
    return "\x01" + " " * (len(whole) - 1)
