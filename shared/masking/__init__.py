"""Masking (rule 10): who the patient is does not leave the house with what the patient has.

    mask = Mask.of(vignette)          from the sealed record alone, the same wherever it is derived
    mask.mask(text) -> Masked         [NAME-1], [14 days before the visit], [90 years or older]
    mask.unmask(text)                 what an answer calls [NAME-1] is called by its name again

One table for the whole consultation: the same person is the same placeholder in every prompt. What the
structured record gives (`Vignette.identity`) is looked for wherever it occurs; the rest by patterns.
"""

from shared.masking.mask import Mask, Masked, Mode
from shared.masking.spans import Finder, Kind, installed_finders

__all__ = ["Finder", "Kind", "Mask", "Masked", "Mode", "installed_finders"]
