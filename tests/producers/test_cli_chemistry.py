"""`consilium chemistry table | show | why | diff`, as a person or a program calls them."""

from __future__ import annotations

import gzip
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from db.engine import transaction
from db.queries import snapshots
from producers.cli.chemistry.heatmap import colour, label, svg
from producers.cli.chemistry.show import diff, show, why
from producers.cli.chemistry.table import BadModels, table
from producers.cli.common import NotFound
from shared.chemistry.cost import Rated
from shared.chemistry.pairs import strongest
from shared.chemistry.snapshot import Chemistry, Learned, ModelLearned, PairLearned
from shared.errors import ConsiliumError, SettingsError
from shared.history import COLUMNS
from shared.settings import get_settings

app = typer.Typer()
for command in (table, show, why, diff):
    app.command()(command)

GIVEN = [
    {"model": "a", "quality": 9.0, "accuracy": 0.9},
    {"model": "b", "quality": 8.0, "accuracy": 0.8},
    {"model": "c", "quality": 7.0, "accuracy": 0.7},
    {"model": "idle", "quality": 6.0, "accuracy": 0.2},
]


def run(*arguments: str) -> Result:
    """One call."""
    return CliRunner().invoke(app, list(arguments))


def refused(*arguments: str) -> ConsiliumError:
    """The error of a call that is refused."""
    error = run(*arguments).exception
    assert isinstance(error, ConsiliumError)
    return error


def write(path: Path, content: Any) -> str:
    """A JSON file's path."""
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


@pytest.mark.parametrize("form", ["reference", "default"])
def test_table_of_given_models(tmp_path: Path, form: str) -> None:
    """The JSON holds the numbers of the form, and leaves out what the form leaves out."""
    path = write(tmp_path / "models.json", [*GIVEN[:2], {"model": "z", "quality": 10.0, "accuracy": 1.0}])
    result = run("table", path, "--form", form, "--format", "json")
    shown = json.loads(result.stdout)
    models = [Rated("a", 9.0, 0.9), Rated("b", 8.0, 0.8), Rated("z", 10.0, 1.0)]
    found = strongest(models, empty_context=form == "reference")
    assert {(p["a"], p["b"]): p["chemistry"] for p in shown["pairs"]} == {
        k: v.value for k, v in found.items()
    }
    assert (("a", "b") in found) == (form == "reference")
    assert [m["model"] for m in shown["models"]] == ["a", "b", "z"]


def test_table_for_people_and_the_threshold(tmp_path: Path) -> None:
    """The terminal shows every model and number; a threshold of 0 uses the idle model too."""
    path = write(tmp_path / "models.json", GIVEN)
    printed = run("table", path).stdout
    assert all(str(one["model"]) in printed for one in GIVEN)
    assert "synergy" in printed
    pairs = json.loads(run("table", path, "--threshold", "0", "--format", "json").stdout)["pairs"]
    assert next(p for p in pairs if p["b"] == "idle")["chemistry"] > 0
    with_idle = [
        p for p in json.loads(run("table", path, "--format", "json").stdout)["pairs"] if p["b"] == "idle"
    ]
    assert [p["chemistry"] for p in with_idle] == [0, 0, 0]


def history(path: Path, rows: list[tuple[str, str, float, float]]) -> str:
    """A gzip history of (task, model, quality, accuracy) and one row that lacks a field."""
    lines = [",".join(COLUMNS)]
    for number, (task, model, quality, accuracy) in enumerate(rows):
        lines.append(
            f'T{number},{model},{task},1,0.5,i,"two\nlines",{quality},1,0,1,{accuracy},1s,RANDOM,'
            "2026-01-01 00:00:00"
        )
    lines.append("T,broken,row")
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return str(path)


def test_table_of_a_history(tmp_path: Path) -> None:
    """The reference form takes the best row, the default form the mean; a bad row is told with its line."""
    path = history(tmp_path / "h.csv.gz", [("t", "a", 10, 0.9), ("t", "a", 4, 0.7), ("t", "b", 5, 0.8)])
    result = run("table", path, "--form", "reference", "--format", "json")
    assert "line 8: 3 fields" in result.stderr
    assert "1 rows" in result.stderr
    models = {m["model"]: (m["quality"], m["accuracy"]) for m in json.loads(result.stdout)["models"]}
    assert models == {"a": (10.0, 0.9), "b": (5.0, 0.8)}
    shrunk = json.loads(run("table", path, "--format", "json").stdout)["models"]
    assert shrunk[0]["quality"] == pytest.approx((14 + 20 * 19 / 3) / 22)
    two = history(tmp_path / "two.csv.gz", [("t", "a", 9, 0.9), ("u", "b", 5, 0.8)])
    assert "choose one with --task: t; u" in str(refused("table", two))
    assert [
        m["model"] for m in json.loads(run("table", two, "--task", "u", "--format", "json").stdout)["models"]
    ] == ["b"]
    assert "it has: t; u" in str(refused("table", two, "--task", "v"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[{", "line 1, column 3"),
        ("{}", "a list of"),
        ("[]", "a list of"),
        ([1], "object 1: not an object"),
        ([{"model": "", "quality": 1, "accuracy": 1}], "object 1, model"),
        (
            [GIVEN[0], {"model": "x", "quality": 11, "accuracy": 1}],
            "object 2, quality: a number from 0 to 10",
        ),
        ([{"model": "x", "quality": True, "accuracy": 1}], "object 1, quality"),
        ([{"model": "x", "quality": 10**400, "accuracy": 1}], "object 1, quality"),
        ('[{"model": "x", "quality": 1, "accuracy": NaN}]', "object 1, accuracy"),
        ([GIVEN[0], GIVEN[0]], "object 2, model: comes a second time"),
    ],
)
def test_bad_models_name_the_place(tmp_path: Path, content: Any, said: str) -> None:
    """Every bad file ends with a typed error that says where and what is asked for."""
    error = refused("table", write(tmp_path / "bad.json", content))
    assert isinstance(error, BadModels)
    assert said in str(error)


def test_files_and_options_that_cannot_be(tmp_path: Path) -> None:
    """A missing file and a threshold outside 0…1 are refused in words."""
    assert "cannot be read" in str(refused("table", str(tmp_path / "none.json")))
    assert "cannot be read" in str(refused("table", str(tmp_path / "none.csv")))
    path = write(tmp_path / "m.json", GIVEN)
    assert isinstance(refused("table", path, "--threshold", "2"), SettingsError)


def learned(effect: float, se: float) -> Chemistry:
    """Three models of two families; one pair with an effect, one pair that was never seen."""
    models = {
        name: ModelLearned(family, 40, 30, value, 0.05, 7.0, 0.8, 2.5, 0.1)
        for name, family, value in (("a", "f", 0.7), ("b", "g", 0.6), ("c", "g", 0.5))
    }
    pairs = {
        ("a", "b"): PairLearned(25, 0.4, -1, ("c",), effect, se),
        ("a", "c"): PairLearned(5, None, 0, (), 0.0, 0.02),
    }
    kinds = {
        "medication/x": Learned("outcomes", 50, models, pairs, {"tau": 0.5}, {("g", "g"): (-0.01, 0.004)})
    }
    return Chemistry(kinds=kinds)


def use(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands find this database."""
    monkeypatch.setenv("CONSILIUM_DATABASE_URL", url)
    get_settings.cache_clear()


@pytest.fixture(autouse=True)
def _forget_settings() -> Iterator[None]:
    """No test sees another one's settings."""
    yield
    get_settings.cache_clear()


@pytest.fixture
def stored(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with two snapshots of chemistry."""
    use(database_url, monkeypatch)
    for chemistry in (learned(0.01, 0.02), learned(0.05, 0.01)):
        with transaction(database_url) as session:
            snapshots.add(
                session, kind="chemistry", form="default", parameters={"p": 1}, purposes=["care"],
                span_from=None, span_to=None, rows_read=120, digest="d" * 64, body=chemistry.to_json(),
            )  # fmt: skip
    return database_url


def test_show_tells_what_can_be_told(stored: str, tmp_path: Path) -> None:
    """Provenance, models, pairs; in words whether effects differ from 0; JSON and SVG of the same."""
    printed = run("show").stdout
    for word in ("medication/x", "0.700 ± 0.050", "care", "d" * 64, "120", "1 of 2 pairs", "10.0%"):
        assert word in printed, word
    assert "no effect can be told from 0" in run("show", "--snapshot", "1").stdout
    drawn = tmp_path / "map.svg"
    body = json.loads(run("show", "--format", "json", "--svg", str(drawn)).stdout)
    assert body["snapshot"] == 2
    assert body["kinds"]["medication/x"]["pairs"][0]["effect"] == 0.05
    texts = [e.text for e in ElementTree.parse(drawn).iter("{http://www.w3.org/2000/svg}text")]
    assert "Pair effects, medication/x, chemistry 2" in texts
    assert texts.count("+.05") == 2
    assert "nothing is known of this kind" in str(refused("show", "--kind", "other"))


def test_why_gives_both_numbers(stored: str) -> None:
    """Effect, its families', chemistry with sign and context; a pair never seen has its families'."""
    [row] = json.loads(run("why", "b", "a", "--format", "json").stdout)
    assert (row["effect"], row["chemistry"], row["context"]) == (0.05, 0.4, ["c"])
    assert row["in_words"] == "wrong together less often"
    assert row["chemistry_in_words"].startswith("synergy")
    [unseen] = json.loads(run("why", "b", "c", "--format", "json").stdout)
    assert (unseen["effect"], unseen["consultations_together"], unseen["chemistry"]) == (-0.01, 0, None)
    assert "cannot be told from 0" in run("why", "a", "c").stdout
    assert isinstance(refused("why", "a", "nobody"), NotFound)


def test_diff_lists_what_changed(stored: str) -> None:
    """Only the changed number, with its change; a snapshot and itself say the same."""
    [row] = json.loads(run("diff", "1", "2", "--format", "json").stdout)
    assert (row["what"], row["of"], row["change"]) == ("effect", "a + b", pytest.approx(0.04))
    assert "a + b" in run("diff", "1", "2").stdout
    assert "say the same" in run("diff", "2", "2").stdout
    assert "there is no chemistry 9" in str(refused("diff", "1", "9"))


def test_before_anything_is_learned(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a snapshot the command says what to do."""
    use(database_url, monkeypatch)
    assert "chemistry recompute" in str(refused("show"))


def test_svg_escapes_and_keeps_labels_apart() -> None:
    """Names are text, whatever they hold; rows of labels are further apart than their letters are high."""
    names = [f"<m{i:02}>&" for i in range(30)]
    tree = ElementTree.fromstring(
        svg(names, {(names[0], names[1]): -0.5}, scale=1, title="<t>", low="l", high="h")
    )
    rows = [
        e
        for e in tree.iter("{http://www.w3.org/2000/svg}text")
        if e.text in names and "transform" not in e.attrib
    ]
    heights = sorted(float(e.attrib["y"]) for e in rows)
    assert len(rows) == 30
    assert min(b - a for a, b in pairwise(heights)) > 14
    assert (label(-0.5), label(0.001), label(1.0), colour(0, 1)) == ("−.50", "0", "+1.0", (247, 247, 247))
