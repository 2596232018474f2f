"""Where a key of a TOML file stands: tomllib forgets the lines, and an error without one is hard to mend."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Key = tuple[str, ...]


def fault(path: Path, lines: Mapping[Key, int], key: Key, what: str) -> str:
    """`file:line: key: what`; the line of the innermost part of the key that has one."""
    line = next((lines[key[:n]] for n in range(len(key), 0, -1) if key[:n] in lines), 1)
    return f"{path}:{line}: {'.'.join(key)}: {what}"


def syntax_fault(path: Path, text: str, message: str) -> str:
    """tomllib's own words, with the line in front and the key or table that stands there."""
    at = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", message)
    what = message[: at.start()] if at else message
    rows = text.splitlines()
    line = int(at[1]) if at and at[1] else len(rows)
    key = ".".join((rows and _key(rows[line - 1])) or ("?",))
    if re.match(r"Cannot (declare|overwrite|mutate)", what):
        return f"{path}:{line}: {key}: stands here for the second time; remove or rename one"
    return f"{path}:{line}: {key}: no valid TOML ({what}); mend the line"


def lines_of(text: str) -> dict[Key, int]:
    """The line (1-based) at which each key and table first stands, by its full path."""
    lines: dict[Key, int] = {}
    table: Key = ()
    for number, line in enumerate(text.splitlines(), 1):
        if (key := _key(line)) is None:
            continue
        if line.lstrip().startswith("["):
            table = key
            path = key
        else:
            path = table + key
        for n in range(1, len(path) + 1):
            lines.setdefault(path[:n], number)
    return lines


def _key(line: str) -> Key | None:
    """The path that a line declares ("[a.b]" or "c.d = 1"), read by tomllib itself; None if none."""
    left = line.strip() if line.lstrip().startswith("[") else line.partition("=")[0] + "=0"
    try:
        step: Any = tomllib.loads(left)
    except tomllib.TOMLDecodeError:
        return None
    path = []
    while isinstance(step, dict) and step:
        name, step = next(iter(step.items()))
        path.append(name)
    return tuple(path) or None
