"""Medication names → ingredient codes, as they are stored: in the open, outside the sealed table.

A code is a lower-case generic name, or a keyed digest where the name is unknown or that of a class, so no
code carries what a model or a source wrote. A misspelling within the normaliser's bound counts as the drug.
"""

from __future__ import annotations

import hashlib
import hmac

from shared.medications.names import fold
from shared.medications.names import key as key_of
from shared.medications.order import normalise

UNKNOWN = "unknown:"


def ingredients(name: str, key: bytes = b"") -> tuple[str, ...]:
    """The ingredient codes of a medication as prescribed, sorted, without repeats; never empty.

    "Lipitor 40 mg PO QHS" → ("atorvastatin",); "Augmentin" → ("amoxicillin", "clavulanate"). What is not in
    the table gives `unknown:` + 12 hex digits of HMAC-SHA256(key, normalised name): equal unknown names are
    equal codes, and no text leaks. Give a secret `key` wherever the code is stored, since a short name can be
    guessed from a digest without one. Of "aspirin and foozumab" the known part is told, the rest is unknown.
    """
    order = normalise(name)
    parts = [key_of(fold(part)) or part for part in order.unknown]
    if parts and not order.ingredients:  # wholly unknown: one name, however it is punctuated
        parts = [" ".join(parts)]
    if not (parts or order.classes or order.ingredients):
        parts = [""]
    digests = (_digest(part, key) for part in (*parts, *order.classes))
    return tuple(sorted({*order.ingredients, *digests}))


def generic_name(name: str) -> str | None:
    """The name to show ("amoxicillin + clavulanate"), or None where any part of it is unknown."""
    order = normalise(name)
    return None if order.unknown or order.classes else " + ".join(order.ingredients) or None


def is_unknown(code: str) -> bool:
    """Whether an ingredient code stands for a name the table does not know."""
    return code.startswith(UNKNOWN)


def _digest(part: str, key: bytes) -> str:
    return UNKNOWN + hmac.new(key, part.encode(), hashlib.sha256).hexdigest()[:12]
