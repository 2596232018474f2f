"""The normaliser's bars: order texts a second, load time and memory in a fresh process.

    python benchmarks/normaliser.py [TEXTS]

Distinct texts, made of the table's names with strengths, routes, frequencies and reasons, a seventh of them
combinations and a seventh misspelled; every text is read once, so no cache helps. In the same run, on the
same texts: one regex substitution that takes out doses (what a search and replace would cost), and on the
misspelled words `difflib.get_close_matches` over the table's words. Times are CPU times. The bars:
5,000 texts a second on one core, 150 ms to load, 40 MiB.
"""

from __future__ import annotations

import difflib
import random
import re
import subprocess
import sys
import time

from shared.medications.names import names
from shared.medications.order import normalise

STRENGTHS = ("5 mg", "10 MG", "40mg", "0.125 MG", "500 mg/5 mL", "20 mEq", "100 units/mL", "1 g")
SIGS = (
    "po bid",
    "Oral Tablet",
    "PO q6h prn pain x 10 days",
    "1 tab by mouth daily for blood pressure",
    "IV q12h",
    "Extended Release Oral Capsule",
    "take 1-2 tablets every 4-6 hours as needed",
    "qhs",
)
DOSE = re.compile(r"\b\d+(?:\.\d+)?\s*(?:mg|mcg|g|meq|units?)(?:/\d*\s*\w+)?\b", re.IGNORECASE)

LOAD = """
import time
from pathlib import Path

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

before = resident()
start = time.process_time()
from shared.medications.order import normalise
normalise("Simvistatin 10 MG")
print((time.process_time() - start) * 1e3, resident() - before)
"""


def misspelled(name: str, rng: random.Random) -> str:
    """A name with one letter missing, doubled or exchanged with its neighbour."""
    at = rng.randrange(1, len(name) - 1)
    return rng.choice(
        (
            name[:at] + name[at + 1 :],
            name[:at] + name[at] + name[at:],
            name[:at] + name[at + 1] + name[at] + name[at + 2 :],
        )
    )


def orders(count: int, seed: int = 1) -> tuple[list[str], list[str]]:
    """Distinct order texts, and the misspelled words in them."""
    rng = random.Random(seed)
    known = sorted(names().codes)
    long = [name for name in known if name.isalpha() and len(name) >= 8]
    made: dict[str, None] = {}
    wrong: list[str] = []
    while len(made) < count:
        kind = rng.randrange(7)
        name = rng.choice(known)
        if kind == 0:
            name = f"{name} {rng.choice(STRENGTHS)} / {rng.choice(known)}"
        elif kind == 1:
            name = misspelled(rng.choice(long), rng)
            wrong.append(name)
        made[f"{name.title() if rng.random() < 0.5 else name} {rng.choice(STRENGTHS)} {rng.choice(SIGS)}"] = (
            None
        )
    return list(made), wrong


def seconds(work: object, texts: list[str]) -> float:
    """CPU time of a function over texts."""
    assert callable(work)
    start = time.process_time()
    for text in texts:
        work(text)
    return time.process_time() - start


def main() -> None:
    """Print the measures."""
    texts, wrong = orders(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
    load = [
        tuple(
            map(
                float,
                subprocess.run(
                    [sys.executable, "-c", LOAD], capture_output=True, text=True, check=True
                ).stdout.split(),
            )
        )
        for _ in range(5)
    ]
    normalise("warm-up of the table and the speller: Simvistatin")
    took = seconds(normalise, texts)
    plain = seconds(lambda text: DOSE.sub(" ", text), texts)
    words = sorted(w for w in names().words if len(w) >= 5)
    some = wrong[:50]
    corrected = seconds(normalise, [f"{w} 7 mg" for w in some]) / len(some)
    close = seconds(lambda w: difflib.get_close_matches(w, words, n=1, cutoff=0.8), some) / len(some)
    print(f"table: {len(names().codes)} names; {len(texts)} distinct texts, {len(wrong)} of them misspelled")
    rate, ratio = len(texts) / took, took / plain
    print(f"normalise           {rate:8.0f} texts/s   {1e6 / rate:6.0f} µs each")
    print(f"one regex pass      {len(texts) / plain:8.0f} texts/s   ratio {ratio:5.1f}")
    print(f"misspelled order    {corrected * 1e6:8.0f} µs")
    print(f"difflib, its word   {close * 1e6:8.0f} µs        ratio {close / corrected:5.0f}")
    ms, mib = min(ms for ms, _ in load), max(mib for _, mib in load)
    print(f"fresh process       {ms:8.0f} ms to load   {mib:6.1f} MiB")


if __name__ == "__main__":
    main()
