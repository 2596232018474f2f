"""Words that decide whether a capitalised word is somebody's name."""

from __future__ import annotations

from functools import cache
from importlib import resources

from shared.medications.indications import conditions_of
from shared.medications.names import fold, key, names
from shared.medications.words import word_set


@cache
def word_list(file: str) -> frozenset[str]:
    """The words of a list beside this module; lines that begin with # are comments."""
    text = resources.files(__package__).joinpath(file).read_text(encoding="utf-8")
    return frozenset(word for line in text.splitlines() if line[:1] != "#" for word in line.split())


TITLES = word_set(
    """
    mr mrs ms miss mx dr drs doctor prof professor nurse sir dame rev reverend herr frau mme mlle
    monsieur madame senor senora sra sig signora sister brother father mother pastor rabbi
    """
)
SUFFIXES = word_set(
    """
    md do rn np pa phd jr sr ii iii iv mph dds dmd pharmd facc facs esq bsn msn lpn cnm dpm aprn crna
    fnp mbbs dnp lcsw pac
    """
)
PARTICLES = word_set(
    """
    de del della la las los le van von der den ter ten bin ibn al el di da dos du y e
    """
)
MONTH_NAMES = word_set("april may june august")

EPONYMS = word_set(
    """
    addison alzheimer apgar asperger babinski baker barrett basedow bell bence bouchard brown burkitt
    celsius charcot chagas chvostek cobb colles conn coombs crohn cushing dix down duchenne dupuytren
    ewing fahrenheit fanconi foley fournier gaucher gilbert glasgow gleason goodpasture gram grave
    graves guillain hallpike hashimoto heberden heimlich hodgkin holter homan homans horner huntington john
    jones kaposi kernig kussmaul lachman lewy ludwig lyme marfan mcburney mcmurray meniere mohs moro
    murphy osgood osler paget pap parkinson peyronie phalen pott prinzmetal ramsay raynaud reye
    romberg rovsing sever sjogren smith sturge tay tinel tourette trendelenburg turner valsalva
    vincent waldenstrom weber wegener wells wernicke whipple wilms wilson wood wolff
    """
)
"""Persons after whom diseases, signs and devices are called: not names before one of `AFTER_EPONYM`."""

AFTER_EPONYM = word_set(
    """
    angina bodies body catheter chorea classification contracture criteria cyst dementia disease
    dystrophy esophagus encephalopathy fracture gland granulomatosis hematoma index lamp lesion
    lymphoma macroglobulinemia maneuver manoeuvre monitor neuropathy node nodes node's palsy
    phenomenon point procedure reflex rule sarcoma scale score sequard sign smear stain surgery
    syndrome test thyroiditis toe tumor tumour ulcer wort
    """
)

DISEASES = word_set(
    """
    anemia anaemia aneurysm anomaly arteritis cancer carcinoma cardiomyopathy colitis deficiency disease
    disorder dystrophy encephalopathy leukemia leukaemia lymphoma malformation melanoma myopathy
    nephropathy neuropathy palsy sarcoma stenosis syndrome thyroiditis tumor tumour vasculitis
    """
)
"""What is called by the word before it ("Kawasaki disease", "Prostate cancer"), which then is no name."""

AS_SUBJECT = word_set(
    """
    is was has had reports reported denies denied states stated presents presented says said complains
    endorses takes lives works returns came comes called felt feels went gave told tells asked asks
    wants
    """
)
"""What stands behind somebody: a name that is a word is a name before it."""

AMBIGUOUS = word_list("ambiguous.txt")
"""Names that are words as well: somebody's name only where they stand as one."""


def given_names() -> frozenset[str]:
    """Common given names that are no words, drugs or places, in lower case."""
    return word_list("given_names.txt")


def no_names() -> frozenset[str]:
    """Words that begin sentences, headings and clinical terms, in lower case: never taken for a name."""
    return word_list("no_names.txt")


@cache
def is_condition(word: str) -> bool:
    """Whether a word is a condition's whole name: gout, lymphoma."""
    return bool(conditions_of([word]))


def is_drug(word: str) -> bool:
    """Whether a word is a drug's whole name or brand."""
    return key(fold(word)) in names().codes


def is_insulin(word: str) -> bool:
    """Whether a word is an insulin's name or brand, whose doses of a day are written 8-6-10."""
    return any(code.startswith("insulin") for code in names().codes.get(key(fold(word)), ()))
