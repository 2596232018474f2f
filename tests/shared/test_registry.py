"""The registry: what models.toml may say, how its faults are told, and the times that follow from it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import SettingsError
from shared.registry import (
    Limits,
    Model,
    Registry,
    lease_s,
    limits_of,
    load_registry,
    price,
    stall_s,
    visibility_s,
)
from shared.settings import Settings

GOOD = """\
[models.oak]
provider = "acme"
protocol = "openai"
location = "remote"
family = "oak"
base_url = "https://models.example/v1/"
usd_per_mtok_in = 0.1
usd_per_mtok_out = 1.5
parameters = { temperature = 0.2, max_tokens = 1200 }

[models."sim-elm/2"]
provider = "panel"
protocol = "openai"
location = "local"
simulated = true
family = "elm"
base_url = "http://127.0.0.1:8123/v1"
model = "elm-asked-for"
key_file = "keys/elm"
tokens_per_minute = 9000

[providers.acme]
max_in_flight = 4
requests_per_minute = 60
"""


def load(tmp_path: Path, text: str) -> Registry:
    path = tmp_path / "models.toml"
    path.write_text(text, encoding="utf-8")
    return load_registry(path)


def fault(tmp_path: Path, text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text)
    return str(caught.value).replace(f"{tmp_path}/", "")


def replaced(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


def test_reads_every_key_and_its_default(tmp_path: Path) -> None:
    """Models come in the file's order, with defaults that depend on where they run."""
    registry = load(tmp_path, GOOD)
    assert list(registry) == ["oak", "sim-elm/2"]
    oak, elm = registry.values()
    assert (oak.model, oak.base_url, oak.deadline_s) == ("oak", "https://models.example/v1", 60)
    assert oak.usd_per_mtok_in == Decimal("0.1")
    assert oak.parameters == {"temperature": 0.2, "max_tokens": 1200}
    assert (elm.model, elm.deadline_s, elm.simulated) == ("elm-asked-for", 600, True)
    assert elm.key_file == tmp_path / "keys" / "elm"
    assert elm.usd_per_mtok_in is None
    assert limits_of(oak) == Limits()
    assert limits_of(elm) == Limits(tokens_per_minute=9000)
    assert registry.providers == {"acme": Limits(max_in_flight=4, requests_per_minute=60), "panel": Limits()}
    assert registry.names() == {"oak", "sim-elm/2", "elm-asked-for", "elm"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('family = "oak"\n', "", "models.toml:1: models.oak.family: is required; add it"),
        ("base_url", "base_ulr", "models.toml:6: models.oak.base_ulr: unknown key; did you mean base_url?"),
        ('"remote"', '"cloud"', "models.toml:4: models.oak.location: Input should be 'remote' or 'local'"),
        ("https://models.example/v1/", "models.example", "models.toml:6: models.oak.base_url: must be an"),
        (
            "https://models.example/v1/",
            "https://u:hunter2@m.example",
            "models.toml:6: models.oak.base_url: must hold",
        ),
        (
            "https://models.example/v1/",
            "https://m.example?key=hunter2",
            "models.oak.base_url: must hold no user",
        ),
        ("https://models.example/v1/", "https://m.example:http", "models.oak.base_url: must be an address"),
        ("/v1/", "/v1/chat/completions", "models.oak.base_url: must end before /chat/completions"),
        (
            'family = "oak"',
            'family = "oak"\napi_key = "hunter2"',
            "models.toml:6: models.oak.api_key: a key must not",
        ),
        ('family = "oak"', 'family = "oak"\nkey_env = "hunter2-"', "models.toml:6: models.oak.key_env: "),
        ("temperature = 0.2", 'model = "x"', "models.toml:9: models.oak.parameters: must not hold model"),
        ("temperature = 0.2", "temperature = nan", "models.toml:9: models.oak.parameters: must hold only"),
        ("usd_per_mtok_in = 0.1", "usd_per_mtok_in = -1", "models.toml:7: models.oak.usd_per_mtok_in: "),
        ("simulated = true", "simulated = false", "models.toml:11: models.sim-elm/2: a simulated model is"),
        ("[models.oak]", "[models.sim-oak]", "models.toml:1: models.sim-oak: a simulated model is"),
        ('"keys/elm"', '"keys/elm"\nkey_env = "ELM"', "models.sim-elm/2: key_env and key_file are both"),
        ('family = "elm"', 'family = "elm"\nconnect_s = 601', "models.sim-elm/2: connect_s is longer than"),
        (
            'family = "elm"',
            'family = "elm"\ndeadline_s = inf',
            "models.toml:17: models.sim-elm/2.deadline_s: ",
        ),
        (
            'family = "elm"',
            'family = "elm"\nname = "x"',
            "models.toml:17: models.sim-elm/2.name: unknown key",
        ),
        (
            '[models."sim-elm/2"]',
            "[models.oak]",
            "models.toml:11: models.oak: stands here for the second time",
        ),
        (
            'family = "oak"',
            'family = "oak"\nfamily = "ash"',
            "models.toml:6: family: stands here for the second",
        ),
        ('location = "remote"', "location = ", "models.toml:4: location: no valid TOML"),
        (
            "[providers.acme]",
            "[providers.acne]",
            "models.toml:22: providers.acne: no model has this provider; did",
        ),
        (
            "[providers.acme]",
            "[providers.zzz]",
            "providers.zzz: no model has this provider; remove the table",
        ),
        (
            "max_in_flight = 4",
            "in_flight = 4",
            "models.toml:23: providers.acme.in_flight: unknown key; did you",
        ),
        ("max_in_flight = 4", "token = 4", "models.toml:23: providers.acme.token: a key must not stand here"),
        (
            "max_in_flight = 4",
            "max_in_flight = 0",
            "models.toml:23: providers.acme.max_in_flight: Input should be",
        ),
        ("tokens_per_minute = 9000", "tokens_per_minute = -1", "models.sim-elm/2.tokens_per_minute: Input"),
        ("[models.oak]", "[model.oak]", "models.toml:1: model: unknown key; every model is a table"),
    ],
)
def test_a_fault_names_file_line_key_and_remedy(tmp_path: Path, old: str, new: str, said: str) -> None:
    """Each kind of fault is told with its place, and no value is quoted."""
    told = fault(tmp_path, replaced(old, new))
    assert said in told
    assert "hunter2" not in told


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    """Two faults in two models give two lines."""
    told = fault(tmp_path, replaced('family = "oak"\n', "").replace('family = "elm"', 'families = "elm"'))
    assert [line.split(": ")[1] for line in told.splitlines()] == [
        "models.oak.family",
        "models.sim-elm/2.family",
        "models.sim-elm/2.families",
    ]


@pytest.mark.parametrize("line", ["providers = 3", "providers.acme = 3"])
def test_providers_that_are_no_tables_are_refused(tmp_path: Path, line: str) -> None:
    """A number where a table must stand is said with what to write."""
    told = fault(tmp_path, line + "\n" + GOOD.partition("[providers.acme]")[0])
    assert "is no table; write [providers.NAME]" in told
    assert "models.toml:1: providers" in told


@pytest.mark.parametrize("text", ["", "# nothing\n", "models = 3\n", "[models]\n"])
def test_a_file_without_a_model_is_refused(tmp_path: Path, text: str) -> None:
    """A registry of nothing cannot answer anything."""
    assert "there is no model; add a table [models.NAME]" in fault(tmp_path, text)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    """The setting that names the file is in the message."""
    with pytest.raises(SettingsError, match="CONSILIUM_MODELS_FILE"):
        load_registry(tmp_path / "none.toml")


@given(st.text(max_size=200))
def test_no_file_makes_another_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever stands in the file, it is read or refused as a setting."""
    path = tmp_path_factory.mktemp("any") / "models.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(SettingsError, match=r"models\.toml"):
        load_registry(path)


def model(**changes: object) -> Model:
    base = {
        "name": "oak",
        "provider": "acme",
        "protocol": "openai",
        "location": "remote",
        "family": "oak",
        "base_url": "http://127.0.0.1/v1",
    }
    return Model.model_validate({**base, **changes})


def test_a_price_is_exact_or_not_known() -> None:
    """A price or count that is not known makes the cost unknown, never 0; what is free stays free."""
    priced = model(usd_per_mtok_in=0.1, usd_per_mtok_out=1.5)
    assert price(priced, 1000, 200) == Decimal("0.0004")
    assert price(priced, None, 200) is None
    assert price(priced, 1000, None) is None
    assert price(priced, 0, 0) == 0
    assert price(model(usd_per_mtok_in=0.1), 1000, 200) is None
    assert price(model(), 1000, 200) is None
    assert price(model(usd_per_mtok_in=0, usd_per_mtok_out=0), None, None) == 0
    assert price(model(usd_per_mtok_in=0, usd_per_mtok_out=2), None, 500_000) == 1


def test_the_digest_tells_parameters_apart() -> None:
    """Any changed parameter is another model version; their order is not."""
    one = model(parameters={"temperature": 0.2, "max_tokens": 100})
    assert (
        one.parameters_digest == model(parameters={"max_tokens": 100, "temperature": 0.2}).parameters_digest
    )
    others = [model(parameters={"temperature": 0.3, "max_tokens": 100}), model(), model(structured=False)]
    assert len({m.parameters_digest for m in [one, *others]}) == 4


def test_times_follow_from_the_deadlines() -> None:
    """Lease = T + H + slack; stall is longer, visibility longer than lease and countdown."""
    settings = Settings(hold_s=60, lease_slack_s=30, stall_slack_s=30, countdown_cap_s=120, visibility_s=None)
    remote, local = model(), model(name="ash", location="local")
    assert lease_s(remote, settings) == 150
    assert stall_s([remote], settings) == 180
    assert stall_s([remote, local], settings) == 690 + 30
    assert visibility_s(Registry([remote, local]), settings) == 120 + 690 + 690


def test_a_visibility_that_is_too_short_is_refused_with_the_numbers() -> None:
    """A model that is slower than the broker's redelivery time would be called twice."""
    registry = Registry([model()])
    assert visibility_s(registry, Settings(visibility_s=300)) == 300
    with pytest.raises(SettingsError, match=r"is 270, .*\(120\) .*\(150\) = 270"):
        visibility_s(registry, Settings(visibility_s=270))
