"""What became of every resource of an input: counts by type, so that none vanishes unsaid."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Account:
    """Counts by resource type. `read` = `used` + `unused` + `set_aside`, for each type, at the end."""

    read: Counter[str] = field(default_factory=Counter)
    used: Counter[str] = field(default_factory=Counter)
    unused: Counter[tuple[str, str]] = field(default_factory=Counter)  # (type, why)
    set_aside: Counter[tuple[str, str]] = field(default_factory=Counter)  # (type, code of the error)
    unreadable: Counter[str] = field(default_factory=Counter)  # code: files, lines, entries without a type

    def balanced(self) -> bool:
        """Whether every resource that was read has one fate."""
        return self.read == self.fates()

    def fates(self) -> Counter[str]:
        """How many have a fate, by type."""
        total = Counter(self.used)
        for counts in (self.unused, self.set_aside):
            for (kind, _why), n in counts.items():
                total[kind] += n
        return +total

    def rows(self) -> list[tuple[str, str, int]]:
        """(type, fate, count) to print, by type: "used", "not used: …", "set aside: …"."""
        rows = [(kind, "used", n) for kind, n in self.used.items()]
        rows += [(kind, f"not used: {why}", n) for (kind, why), n in self.unused.items()]
        rows += [(kind, f"set aside: {code}", n) for (kind, code), n in self.set_aside.items()]
        rows += [("(unreadable)", f"set aside: {code}", n) for code, n in self.unreadable.items()]
        order = {"u": 0, "n": 1, "s": 2}
        return sorted((r for r in rows if r[2]), key=lambda r: (r[0], order[r[1][0]], r[1]))
