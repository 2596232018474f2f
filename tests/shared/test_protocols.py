"""What models.toml may say under each protocol, and by which way a server is reached."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from shared.errors import SettingsError
from shared.registry import Model, load_registry


def model(protocol: str = "openai", **changes: Any) -> Model:
    base = {
        "name": "oak",
        "provider": "acme",
        "protocol": protocol,
        "location": "remote",
        "family": "oak",
        "base_url": "https://models.example/x",
    }
    return Model.model_validate({**base, **changes})


def fault(protocol: str, **changes: Any) -> tuple[tuple[int | str, ...], str]:
    with pytest.raises(ValidationError) as caught:
        model(protocol, **changes)
    (error,) = caught.value.errors()
    return error["loc"], error["msg"].removeprefix("Value error, ")


@pytest.mark.parametrize(
    ("protocol", "end", "adds"),
    [
        ("openai", "/v1/chat/completions", "/chat/completions"),
        ("anthropic", "/v1/messages/", "/messages"),
        ("gemini", "/v1beta/models", "/models/NAME:generateContent"),
        ("gemini", "/v1beta/models/oak:generateContent", "/models/NAME:generateContent"),
        ("ollama", "/api/chat", "/api/chat"),
        ("ollama", "/api", "/api/chat"),
        ("ollama", "/v1", "/api/chat"),
    ],
)
def test_an_address_ends_before_what_the_client_adds(protocol: str, end: str, adds: str) -> None:
    """The key is named, and what to leave out; another protocol's end is no fault."""
    where, said = fault(protocol, base_url=f"https://models.example{end}")
    assert where == ("base_url",)
    assert said == f"must end before {adds}, which the client adds"
    assert model("openai", base_url="https://models.example/v1/messages").base_url.endswith("/messages")


@pytest.mark.parametrize(
    ("protocol", "parameters", "said"),
    [
        ("openai", {"response_format": {}}, "must not hold response_format: the request sets it"),
        ("anthropic", {"system": "x"}, "must not hold system: the request sets it"),
        (
            "anthropic",
            {"tools": [], "tool_choice": {}},
            "must not hold tool_choice, tools: the request sets it",
        ),
        (
            "anthropic",
            {"output_config": {"effort": "low", "format": {}}},
            "must not hold output_config.format: the request sets it",
        ),
        ("anthropic", {"output_config": 3}, "output_config must be a table: output_config = { … }"),
        ("gemini", {"contents": []}, "must not hold contents: the request sets it"),
        ("gemini", {"generation_config": {}}, "must not hold generation_config: the request sets it"),
        (
            "gemini",
            {"generationConfig": {"responseSchema": {}, "temperature": 0}},
            "must not hold generationConfig.responseSchema: the request sets it",
        ),
        ("gemini", {"generationConfig": []}, "generationConfig must be a table: generationConfig = { … }"),
        ("ollama", {"format": "json"}, "must not hold format: the request sets it"),
        ("ollama", {"options": 1}, "options must be a table: options = { … }"),
        (
            "ollama",
            {"temperature": 0.2},
            "may hold keep_alive, options, shift, think, truncate, and nothing else: what shapes the answer "
            "goes into options",
        ),
    ],
)
def test_parameters_leave_the_request_its_own(protocol: str, parameters: dict[str, Any], said: str) -> None:
    """What the request sets, or what a server would ignore in silence, is refused by name."""
    assert fault(protocol, parameters=parameters) == (("parameters",), said)


@pytest.mark.parametrize(
    ("protocol", "parameters"),
    [
        (
            "anthropic",
            {"max_tokens": 9, "output_config": {"effort": "low"}, "thinking": {"type": "adaptive"}},
        ),
        ("gemini", {"generationConfig": {"maxOutputTokens": 9}, "safetySettings": []}),
        ("ollama", {"options": {"num_ctx": 9, "format": 1}, "think": "low", "keep_alive": "1h"}),
    ],
)
def test_parameters_of_each_protocol_are_taken(protocol: str, parameters: dict[str, Any]) -> None:
    """A provider's own settings go through as they are."""
    assert model(protocol, parameters=parameters).parameters == parameters


@pytest.mark.parametrize(
    "proxy",
    [
        "proxy:3128",
        "https://p:1",
        "http://p",
        "http://p:0",
        "http://u:hunter2@p:1",
        "http://p:1/x",
        "http://p:x",
    ],
)
def test_a_proxy_is_an_address_without_a_password(proxy: str) -> None:
    """Host and port and nothing else; what was written is not repeated."""
    where, said = fault("openai", proxy=proxy)
    assert where == ("proxy",)
    assert said.startswith("must be http://host:port")
    assert "hunter2" not in said


def test_a_way_that_makes_no_sense_is_said() -> None:
    """Authorities without TLS; Gemini's name with its path; a protocol that there is not."""
    assert fault("openai", base_url="http://h/v1", ca_file="ca.pem")[1].startswith("ca_file is given, but")
    assert fault("gemini", model="models/oak") == ((), "model is the bare name, without models/")
    where, said = fault("cohere")
    assert where == ("protocol",)
    assert "'anthropic'" in said


def test_files_are_beside_models_toml(tmp_path: Path) -> None:
    """`ca_file` and `key_file` are relative to the file that names them; proxy and protocol are read."""
    path = tmp_path / "models.toml"
    path.write_text(
        '[models.oak]\nprovider = "acme"\nprotocol = "anthropic"\nlocation = "remote"\nfamily = "oak"\n'
        'base_url = "https://models.example/v1"\nca_file = "tls/ca.pem"\nproxy = "http://proxy:3128/"\n'
    )
    oak = load_registry(path)["oak"]
    assert (oak.ca_file, oak.key_file, oak.proxy) == (tmp_path / "tls/ca.pem", None, "http://proxy:3128")
    path.write_text(path.read_text().replace("http://proxy", "http://me:hunter2@proxy"))
    with pytest.raises(SettingsError, match=r"models.toml:8: models.oak.proxy: must be http") as caught:
        load_registry(path)
    assert "hunter2" not in str(caught.value)


def test_the_example_can_be_read() -> None:
    """examples/models.toml has a model of every protocol, and names no key."""
    registry = load_registry(Path(__file__).parents[2] / "examples" / "models.toml")
    assert {m.protocol for m in registry.values()} == {"openai", "anthropic", "gemini", "ollama"}
    assert {m.location for m in registry.values()} == {"remote", "local"}
    assert registry["gateway"].ca_file is not None
