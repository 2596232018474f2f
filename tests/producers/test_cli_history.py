"""`consilium history`: in, in again, grown, out and in once more."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from embedded.services import Services
from producers.cli.history import app
from shared.errors import ConsiliumError
from shared.history import COLUMNS
from shared.settings import get_settings
from tests.accepted import TRIO
from tests.producers.test_history_csv import DATA, GOOD, public, text_of
from tests.stored import Stored


class History:
    """The command on a database of its own."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder

    def __call__(self, *words: str, code: int = 0) -> str:
        """Its standard output and error."""
        result = CliRunner().invoke(app, list(words))
        if isinstance(result.exception, ConsiliumError):
            assert result.exception.exit_code == code
            return str(result.exception)
        assert result.exit_code == code, (result.output, result.exception)
        return result.stdout + result.stderr

    def file(self, name: str, content: bytes) -> str:
        """Write a file; its path."""
        (self.folder / name).write_bytes(content)
        return str(self.folder / name)


@pytest.fixture
def history(services: Services, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command on a fresh database."""
    monkeypatch.setenv("CONSILIUM_DATABASE_URL", database_url)
    monkeypatch.setenv("CONSILIUM_SITE_KEY", services.addresses.site_key or "")
    get_settings.cache_clear()
    yield History(database_url, tmp_path)
    get_settings.cache_clear()


@pytest.fixture
def stored(database_url: str, services: Services) -> Stored:
    """What lies in that database."""
    assert services.addresses.site_key
    return Stored(database_url, services.addresses.site_key)


def trial(name: str, *models: str, **changes: str) -> list[dict[str, str]]:
    """The rows of one trial."""
    return [{**GOOD, "trial": name, "model": model, **changes} for model in models]


def test_twice_and_grown(history: History, stored: Stored) -> None:
    """The same content adds nothing and says so; a grown file adds what is new; all is audited."""
    rows = trial("t1", "a", "b")
    said = history("import", history.file("mine.csv", text_of(*rows)))
    assert "origin mine" in said
    assert "kinds: classify (2)" in said
    assert "2 rows added, 0 known before, 0 set aside" in said
    assert "imported before (origin mine): nothing to add" in history(
        "import", history.file("copy.csv", text_of(*rows))
    )
    grown = history.file("mine.csv", text_of(*rows, *trial("t2", "a"), *trial("t1", "c")))
    assert "2 rows added, 2 known before" in history("import", grown)
    assert stored.ask("SELECT trial, place, model FROM imported_interactions ORDER BY 1, 2") == [
        ("t1", 1, "a"),
        ("t1", 2, "b"),
        ("t1", 3, "c"),
        ("t2", 1, "a"),
    ]
    assert [what for _, what, _ in stored.audited()] == ["history.import"] * 2
    listed = json.loads(history("list", "--format", "json"))
    assert [(row["origin"], row["rows"], row["kinds"]) for row in listed] == [("mine", 2, ["classify"])] * 2


def test_another_file_under_the_same_origin_is_refused(history: History, stored: Stored) -> None:
    """Rows that would pass for known ones are not lost in silence: nothing is stored, the remedy is said."""
    history("import", history.file("a.csv", text_of(*trial("t1", "a"))))
    other = history.file("b.csv", text_of(*trial("t1", "z"), *trial("t2", "z")))
    assert "--origin" in history("import", other, "--origin", "a", code=1)
    assert stored.ask("SELECT count(*) FROM history_imports") == [(1,)]
    assert "2 rows added" in history("import", other, "--kind", "medication/general")
    assert "--kind" in history("import", other, "--kind", "No Slug", code=2)


def test_bad_rows_are_listed(history: History) -> None:
    """Exit code 6; the first twenty with line and reason, all of them by set-aside; the good ones are in."""
    rows = [*trial("t", "a"), *[{**GOOD, "quality": "11", "result": ""}] * 25, *trial("u", "b")]
    said = history("import", history.file("h.csv", text_of(*rows)), code=6)
    assert "2 rows added, 0 known before, 25 set aside" in said
    assert "line 4: quality: is not from 0 to 10" in said
    assert "and 5 more" in said
    assert len([line for line in said.splitlines() if line.startswith("  line ")]) == 20
    listed = json.loads(history("set-aside", "--format", "json"))
    assert [row["line"] for row in listed] == list(range(4, 29))


def test_export_reads_back(history: History, stored: Stored) -> None:
    """What was exported imports to the same rows, number for number."""
    rows = [
        *trial("t1", "a", "b", quality="0.30000000000000004", accuracy="", created=""),
        *trial("t2", "a", latency="1e-300", created="2025-07-11 09:43:21.123456", elapsed=""),
    ]
    history("import", history.file("h.csv", text_of(*rows)))
    target = str(history.folder / "out.csv")
    assert "3 rows written" in history("export", target, "--purposes", "imported:h")
    history("import", target, "--origin", "again")
    columns = (
        "trial, place, kind, model, item, latency_s, temperature, quality, generation_accuracy, variance, "
    )
    columns += "review_accuracy, accuracy, elapsed, strategy, created"
    query = f"SELECT {columns} FROM imported_interactions WHERE origin = %s ORDER BY 1, 2"
    assert stored.ask(query, "again") == stored.ask(query, "h") != []
    both = history("export", "-", "--purposes", "imported")
    assert "again/t1," in both
    assert "no purpose" in history("export", "-", "--purposes", "all", code=2)
    said = history("export", target, "--purposes", "imported:h,imported:nosuch", code=2)
    assert said == "no history of origin 'nosuch': there are again, h"
    assert Path(target).read_text().count("\n") == 4, "what is there is left alone"


def test_export_of_own_history(history: History, stored: Stored) -> None:
    """Own consultations: accuracy computed, no text unless asked for, and then audited."""
    _, [consultation] = stored.submit()
    for owed in stored.owed(consultation):
        stored.answer(owed)
    stored.ask(
        "INSERT INTO interactions (consultation_id, source_id, seat, occupancy, model_version_id, kind, "
        "purpose, latency_s, quality, variance, generation_accuracy, review_accuracy) "
        "SELECT consultation_id, source_id, seat, occupancy, model_version_id, 'medication/general', 'care', "
        "1.5, 8, 0.01, NULL, 0.5 FROM seats WHERE consultation_id = %s",
        consultation,
    )
    plain = list(csv.DictReader(history("export", "-").splitlines()[:-1]))
    assert [(row["trial"], row["model"], row["id"]) for row in plain] == [
        (str(consultation), name, label) for name, label in zip(TRIO, "ABC", strict=True)
    ]
    first = plain[0]
    assert tuple(first) == COLUMNS
    assert (first["quality"], first["generation_accuracy"], first["result"]) == ("8.0", "", "")
    assert float(first["accuracy"]) == pytest.approx(0.25 * 0.8 + 0.75 * 0.5)
    assert float(first["variance"]) == pytest.approx(1.0)  # on 0…10, as grades are in these columns
    assert stored.audited() == []
    opened = history("export", "-", "--with-results")
    assert "aspirin" in opened
    assert stored.audited() == [("cli", "history.export", "with results: care")]


@public
def test_public_history_goes_in(history: History, stored: Stored) -> None:
    """runs.csv: 8,164 rows of 12 models, six set aside, ten questions."""
    assert "8164 rows added, 0 known before, 6 set aside" in history(
        "import", str(DATA / "runs.csv.gz"), code=6
    )
    assert stored.ask(
        "SELECT count(DISTINCT model), count(DISTINCT trial), count(DISTINCT question), min(kind) "
        "FROM imported_interactions"
    ) == [(12, 1342, 10, "classify-a-short-statement-into-a-category-of-fakeness")]
