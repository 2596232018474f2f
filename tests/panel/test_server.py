"""The panel over HTTP: protocol, determinism, faults at their rates, the ledger, many calls at once."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import tomllib
from collections import Counter
from email.utils import parsedate_to_datetime

import httpx
import pytest

from panel.models import MODELS
from shared.reading import read_answer
from shared.schemas import Recommendation
from tests.panel.world import ROOT, generate_body, rendered, review_body, vignettes

NAMES = list(MODELS)


def content(response: httpx.Response) -> str:
    """The text of a chat completion."""
    return response.json()["choices"][0]["message"]["content"]


def test_lists_twelve_simulated_models(panel):
    """/v1/models names the twelve, and every answer carries the name with its version."""
    server = panel()
    rows = server.client.get("/v1/models").json()["data"]
    assert [row["id"] for row in rows] == NAMES
    answer = server.ask(generate_body(NAMES[0], rendered(vignettes()[0]))).json()
    assert answer["model"] == "sim-alder-large-2026-05"
    assert answer["usage"]["total_tokens"] == sum(
        answer["usage"][f"{s}_tokens"] for s in ("prompt", "completion")
    )


def test_every_answer_fits_its_schema_with_faults_off(panel):
    """All twelve models answer all 20 examples readably, through their habits."""
    server = panel()
    asked = [(generate_body(m, rendered(v)), f"{m}{v.id}:1") for m in NAMES for v in vignettes()]
    answers = [read_answer(content(r), Recommendation) for r in server.ask_all(asked)]
    assert Counter(a.decision for a in answers).keys() >= {"recommend", "no_medication"}
    assert server.ledger()["overlaps"] == 0


def test_same_call_same_answer_in_any_order(panel):
    """(seed, model, case, attempt) fix answer, fault and wait; order, key, fence and label do not matter."""
    one = panel("--rate-429", "0.2", "--rate-malformed", "0.2", "--rate-5xx", "0.1", "--rate-refusal", "0.1")
    other = panel(
        "--rate-429", "0.2", "--rate-malformed", "0.2", "--rate-5xx", "0.1", "--rate-refusal", "0.1"
    )
    asked = []
    for number, vignette in enumerate(vignettes()):
        case, model = rendered(vignette), NAMES[number % 12]
        for attempt in (1, 2):
            asked.append((generate_body(model, case), str(attempt)))
            asked.append((review_body(model, case, "Decision: recommend\n1. start metformin"), str(attempt)))

    def facts(response: httpx.Response) -> tuple[object, ...]:
        body = response.json()
        return response.status_code, body.get("choices"), body.get("usage"), body.get("error")

    first = one.ask_all([(body, f"a{i}:{attempt}") for i, (body, attempt) in enumerate(asked)])
    shuffled = list(range(len(asked)))
    random.Random(1).shuffle(shuffled)
    again = other.ask_all([(asked[i][0], f"b{i}:{asked[i][1]}") for i in shuffled])
    assert [facts(first[i]) for i in shuffled] == [facts(r) for r in again]
    assert len({r.status_code for r in first}) > 1


def test_fence_and_label_do_not_change_a_grade(panel):
    """A replay with another fence code and label gets the same grade."""
    server, case = panel(), rendered(vignettes()[0])
    answer = "Decision: recommend\n1. start amoxicillin, 500 mg, oral, three times daily, for pneumonia"
    one = server.ask(review_body(NAMES[2], case, answer, label="A", fence="0" * 16))
    two = server.ask(review_body(NAMES[2], case, answer, label="C", fence="f" * 16), "z:1")
    assert one.json()["choices"] == two.json()["choices"]


def test_another_seed_draws_anew(panel):
    """Repeats with another --seed differ somewhere."""
    asked = [(generate_body("sim-birch-small", rendered(v)), f"{v.id}:1") for v in vignettes()]
    one, two = ([content(r) for r in panel("--seed", s).ask_all(asked)] for s in ("1", "2"))
    assert one != two


def test_faults_come_at_their_rates(panel):
    """Each fault hits about its share of calls, in the forms that clients must know."""
    rates = {"429": 0.2, "5xx": 0.1, "malformed": 0.2, "refusal": 0.1, "over_length": 0.1}
    server = panel()
    server.faults(rates)
    asked = [
        (generate_body(m, rendered(v)), f"{m}{v.id}:{attempt}")
        for m in NAMES[:5]
        for v in vignettes()
        for attempt in (1, 2, 3)
    ]
    responses = server.ask_all(asked)
    seen = server.ledger()["faults"]
    n = len(asked)  # 300: three standard deviations are at most 0.07
    assert {name: seen[name] / n for name in rates} == pytest.approx(rates, abs=0.08)
    waits = [r.headers["Retry-After"] for r in responses if r.status_code == 429]
    dates = [w for w in waits if not w.isdigit()]
    assert dates
    assert len(dates) < len(waits)
    assert all(parsedate_to_datetime(w).tzinfo for w in dates)
    assert {r.status_code for r in responses} == {200, 429, 500, 502, 503}
    choices = [r.json()["choices"][0] for r in responses if r.status_code == 200]
    assert {c["finish_reason"] for c in choices} == {"stop", "length", "content_filter"}
    assert any(c["message"].get("refusal") for c in choices)


def test_no_fault_when_off(panel):
    """With faults off a hundred calls give a hundred answers."""
    server = panel()
    asked = [(generate_body(NAMES[i % 12], rendered(vignettes()[i % 20])), f"{i}:1") for i in range(100)]
    assert {r.status_code for r in server.ask_all(asked)} == {200}
    assert server.ledger()["faults"] == {}


def test_one_model_can_be_taken_away_at_run_time(panel):
    """/control/faults hits one model alone, and a wrong table is refused with the key's name."""
    server, case = panel(), rendered(vignettes()[0])
    server.faults({"models": {NAMES[0]: {"unavailable": 1.0}}})
    assert server.ask(generate_body(NAMES[0], case)).status_code == 503
    assert server.ask(generate_body(NAMES[1], case)).status_code == 200
    for table, word in (({"nonsense": 1}, "nonsense"), ({"429": 2}, "429"), ({"models": {"gpt": {}}}, "gpt")):
        refused = server.client.post("/control/faults", json=table)
        assert (refused.status_code, word in refused.text) == (400, True)
    server.faults("off")
    assert server.ask(generate_body(NAMES[0], case)).status_code == 200


def test_a_repaired_answer_is_plain_json_and_booked_as_repair(panel):
    """Asked again with its raw answer above, a model writes plain JSON; the ledger books it as a repair."""
    server, case = panel(), rendered(vignettes()[0])
    body = generate_body("sim-alder-small", case)
    raw = content(server.ask(body, "r:1"))
    repair = [*body["messages"], {"role": "assistant", "content": raw}, {"role": "user", "content": "Again."}]
    fixed = content(server.ask({**body, "messages": repair}, "r:1"))
    assert Recommendation.model_validate_json(fixed) == read_answer(raw, Recommendation)
    row = server.ledger()["keys"]["r"]
    assert (row["calls"], row["answered"], row["repairs"], row["overlaps"]) == (2, 2, 1, 0)


def test_bad_requests_are_said(panel):
    """Unknown model, no JSON, no messages, too long a prompt: 4xx with a code, as providers do."""
    server = panel()
    case = "word " * 20_000
    codes = [
        server.ask({"model": "gpt"}).json()["error"]["code"],
        server.client.post("/v1/chat/completions", content=b"{").json()["error"]["code"],
        server.ask({"model": NAMES[0], "messages": []}).json()["error"]["code"],
        server.ask(generate_body(NAMES[0], case)).json()["error"]["code"],
    ]
    assert codes == ["model_not_found", "invalid_json", "invalid_messages", "context_length_exceeded"]
    assert server.ledger()["total"] == 0


async def _until(client: httpx.AsyncClient, **wanted: int) -> dict[str, object]:
    while True:
        ledger = (await client.get("/ledger")).json()
        if all(ledger[name] == value for name, value in wanted.items()):
            return ledger


def test_a_client_that_leaves_ends_its_call_and_an_overlap_is_counted(panel):
    """Hanging calls are open until their clients go; two at once for one key are one overlap."""
    server = panel("--rate-hang", "1")
    body = generate_body(NAMES[0], rendered(vignettes()[0]))

    async def scenario() -> dict[str, object]:
        async with httpx.AsyncClient(base_url=server.url, timeout=30) as desk:
            calls = []
            for number in (1, 2):
                headers = {"X-Request-ID": f"same:{number}"}
                calls.append(
                    asyncio.ensure_future(desk.post("/v1/chat/completions", json=body, headers=headers))
                )
                await _until(desk, open=number)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            return await _until(desk, open=0)

    ledger = asyncio.run(scenario())
    row = ledger["keys"]["same"]
    assert (row["calls"], row["overlaps"], row["left"], row["answered"], row["open"]) == (2, 1, 2, 0, 0)
    assert ledger["peak_open"] == 2


def test_ledger_counts_tokens_and_holds_no_text(panel):
    """Calls and tokens by model and key add up; not a word of prompt or answer is in the books."""
    server = panel()
    used = Counter()
    for number, vignette in enumerate(vignettes()):
        answer = server.ask(generate_body(NAMES[number % 3], rendered(vignette)), f"k{number}:1").json()
        used.update(answer["usage"])
    ledger = server.ledger()
    for side in ("prompt_tokens", "completion_tokens"):
        assert sum(row[side] for row in ledger["models"].values()) == used[side]
        assert sum(row[side] for row in ledger["keys"].values()) == used[side]
    assert ledger["total"] == 20
    text = json.dumps(ledger)
    assert not [word for word in ("pneumonia", "amoxicillin", "CASE", "decision") if word in text]
    server.client.post("/ledger/reset").raise_for_status()
    empty = {"total": 0, "peak_open": 0, "models": {}, "keys": {}, "peak_window": 0, "peak_window_models": {}}
    assert server.ledger() == {**ledger, **empty}


def test_three_hundred_calls_at_once(panel):
    """300 calls are open together, and all are answered when their time is over."""
    server = panel("--delay", "600")
    body = generate_body(NAMES[0], rendered(vignettes()[0]))

    async def scenario() -> dict[str, object]:
        limits = httpx.Limits(max_connections=400)
        async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits) as client:

            async def call(number: int) -> int:
                headers = {"X-Request-ID": f"k{number}:1"}
                return (await client.post("/v1/chat/completions", json=body, headers=headers)).status_code

            first = [asyncio.ensure_future(call(number)) for number in range(300)]
            ledger = await _until(client, open=300)
            for task in first:
                task.cancel()
            await asyncio.gather(*first, return_exceptions=True)
            await client.post("/control/delay", json={"seconds": 0})
            assert await asyncio.gather(*(call(number) for number in range(300))) == [200] * 300
            return ledger

    assert asyncio.run(scenario())["peak_open"] == 300
    assert server.ledger()["peak_open"] == 300


def test_models_command_prints_a_readable_registry():
    """`python -m panel models` prints one table a model, five of them local at their own address."""
    options = ["--base-url", "http://127.0.0.1:1/v1", "--home-url-for-local", "http://127.0.0.1:2/v1"]
    command = [sys.executable, "-m", "panel", "models", *options, "--time-scale", "0.02"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    tables = tomllib.loads(printed)["models"]
    assert list(tables) == NAMES
    assert sum(t["location"] == "local" and t["base_url"].endswith(":2/v1") for t in tables.values()) == 5
    assert all(t["simulated"] is True and t["deadline_s"] == 5.0 for t in tables.values())
    assert len({t["family"] for t in tables.values()}) == 4


@pytest.mark.parametrize("options", [["--faults", "nowhere.toml"], ["--rate-429", "3"]])
def test_wrong_faults_end_the_start(options):
    """A wrong setting is said in a sentence with exit code 2."""
    command = [sys.executable, "-m", "panel", "serve", "--port", "0", *options]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stderr.startswith("panel: ")) == (2, True)
    assert "Traceback" not in ended.stderr
