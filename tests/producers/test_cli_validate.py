"""`consilium chemistry validate` on files."""

from __future__ import annotations

import csv
import gzip
import json
import random
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from producers.cli.chemistry.validate import validate
from shared.errors import ConsiliumError
from shared.history import COLUMNS
from tests.shared_data import NOT_HERE, SHARED_DATA

app = typer.Typer()
app.command()(validate)

HISTORIES = SHARED_DATA / "histories"


def _told(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """Six programs, forty runs each, `a` helps; one line without its strategy."""
    rng = random.Random(7)
    path = tmp_path / "history.csv.gz"
    with gzip.open(path, "wt", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for run in range(240):
            members = rng.sample("abcde", 3)
            right = float(rng.random() < 0.3 + 0.4 * ("a" in members))
            for model in members:
                text = f"def f{run % 6}(x):\n    return x"
                row = [
                    f"T {run}",
                    model,
                    "fix",
                    1,
                    0.5,
                    "i",
                    text,
                    5,
                    right,
                    0.1,
                    0.9,
                    0.8,
                    "1s",
                    "RANDOM",
                    "",
                ]
                writer.writerow([v for v in row if v != "RANDOM"] if (run, model) == (0, members[0]) else row)
    return path


def test_table_and_json_say_the_same(history: Path) -> None:
    """Counts, bad rows, both ways to hold out, and the verdict."""
    shown, given = _told(str(history)), json.loads(_told(str(history), "--format", "json"))
    assert (given["rows"], given["trials"], given["questions"], len(given["bad_rows"])) == (719, 240, 6, 1)
    assert "719 rows, 240 trials" in shown
    assert "1 bad rows" in shown
    assert "questions shared with training" in shown
    assert "promised minus realised" in shown
    assert all(sentence in shown for sentence in given["verdict"])
    assert [step["name"] for step in given["by_question"]["steps"]] == [
        "size",
        "size + models",
        "+ pairs",
        "+ reference chemistry",
    ]
    assert "def f" not in shown
    assert "question" not in given["by_question"]["steps"][0]


def test_what_is_no_history_is_refused(tmp_path: Path) -> None:
    """A file that is missing or lacks columns: a typed error."""
    with pytest.raises(ConsiliumError):
        _told(str(tmp_path / "none.csv"))
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ConsiliumError, match="column"):
        _told(str(tmp_path / "other.csv"))


@pytest.mark.parametrize(("name", "bar", "questions", "bad"), [("runs", 0.68, 6, 6), ("runs2", 0.75, 4, 0)])
def test_public_histories(name: str, bar: float, questions: int, bad: int) -> None:
    """The kept model reaches its bar on questions it has not seen, and pairs are not distinguishable."""
    path = HISTORIES / f"{name}.csv.gz"
    if not path.exists():
        pytest.skip(NOT_HERE)
    given = json.loads(_told(str(path), "--format", "json"))
    kept = next(step for step in given["by_question"]["steps"] if step["name"] == given["kept"])
    assert kept["auc"]["value"] >= bar
    assert given["by_question"]["questions"] == questions
    assert len(given["bad_rows"]) == bad
    assert not given["pairs_kept"]
    assert "+ pairs against size + models: not distinguishable" in given["verdict"][1]
