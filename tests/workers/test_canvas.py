"""The canvas and the settings around it: flat, ids only, the right queues, nothing that is the default."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery.app.defaults import DEFAULTS
from hypothesis import given, settings
from hypothesis import strategies as st

from embedded.services import Services
from shared.broker import MESSAGE_VERSION, QUEUES
from shared.flow import Ask, Conclude, Owed, next_step
from shared.sealing import new_site_key
from shared.settings import Settings
from tests.accepted import ROOT, app_on, models_toml, sending
from workers.canvas import canvas
from workers.config import celery_config

ID = uuid.UUID(int=7)
BROKER = "redis://127.0.0.1:9/0"


APP = app_on(BROKER)


def owed(seat: int, kind: Any = "generation", **changes: Any) -> Owed:
    """An owed answer of a remote model."""
    return Owed(
        **{"id": uuid.uuid4(), "kind": kind, "seat": seat, "state": "owed", "location": "remote"} | changes
    )


def leaves(signature: Any) -> list[Any]:
    """The tasks of a task or a chain of tasks; anything else in it fails."""
    if signature["task"] == "celery.chain":
        return [leaf for one in signature["kwargs"]["tasks"] for leaf in leaves(one)]
    assert signature["task"].startswith("consilium."), "neither chord nor group within"
    return [signature]


def parts(signature: Any) -> tuple[list[Any], list[Any]]:
    """Header and body of what the canvas sends, both as single tasks; whatever is nested fails."""
    if signature["task"] != "celery.chord":
        return [], leaves(signature)
    header = list(signature.tasks)
    assert all(one["task"].startswith("consilium.") for one in header), "the header is flat"
    return header, leaves(signature.body)


@pytest.mark.parametrize("urgent", [False, True])
@pytest.mark.parametrize("count", [1, 3, 12])
def test_generations_then_advance(urgent: bool, count: int) -> None:
    """Each owed generation once, then `advance`; flat, also with a single member."""
    asked = Ask("generation", tuple(owed(seat) for seat in range(count)))
    signature = canvas(APP, ID, asked, urgent=urgent)
    assert signature["task"] == "celery.chord"
    header, body = parts(signature)
    assert [(one["task"], one["args"][1]) for one in header] == [
        ("consilium.generate", str(o.id)) for o in asked.owed
    ]
    assert {one["options"]["queue"] for one in header} == {"remote.urgent" if urgent else "remote"}
    assert [(one["task"], one["args"][1], one["options"]["queue"]) for one in body] == [
        ("consilium.advance", str(ID), "conclude")
    ]


@pytest.mark.parametrize("count", [1, 6])
def test_reviews_then_conclude_and_announce(count: int) -> None:
    """Each owed review once, then the chain of `conclude` and `announce`; without any, the chain alone."""
    asked = Ask("review", tuple(owed(seat, "review") for seat in range(count)))
    tail = [("consilium.conclude", str(ID)), ("consilium.announce", str(ID))]
    header, body = parts(canvas(APP, ID, asked, urgent=False))
    assert Counter(one["args"][1] for one in header) == Counter(str(o.id) for o in asked.owed)
    assert {one["task"] for one in header} == {"consilium.review"}
    assert [(one["task"], one["args"][1]) for one in body] == tail
    assert [
        (one["task"], one["args"][1]) for one in parts(canvas(APP, ID, Conclude(), urgent=False))[1]
    ] == tail


@pytest.mark.parametrize(
    ("location", "urgent", "crashes", "queue"),
    [
        ("remote", False, 0, "remote"),
        ("remote", True, 1, "remote.urgent"),
        ("local", False, 1, "local"),
        ("local", True, 0, "local.urgent"),
        ("local", False, 2, "quarantine"),
        ("remote", True, 2, "quarantine"),
    ],
)
def test_queues(location: Any, urgent: bool, crashes: int, queue: str) -> None:
    """By where the model runs and how urgent it is; what has crashed twice goes to quarantine."""
    asked = Ask("review", (owed(0, "review", location=location, crashes=crashes),))
    header, _ = parts(canvas(APP, ID, asked, urgent=urgent))
    assert header[0]["options"]["queue"] == queue


STATES = st.lists(
    st.tuples(
        st.sampled_from(["owed", "answered", "excused"]),
        st.booleans(),
        st.sampled_from(["remote", "local"]),
        st.integers(0, 3),
    ),
    min_size=2,
    max_size=12,
)


@given(generations=STATES, reviews=STATES | st.just([]), urgent=st.booleans())
@settings(max_examples=150, deadline=None)
def test_exactly_what_is_owed_and_ready_is_sent(generations: Any, reviews: Any, urgent: bool) -> None:
    """Whatever is stored: each answer that is owed and ready once, nothing else; ids and version alone."""
    rows = [
        owed(seat, kind, state=state, ready=ready, location=where, crashes=crashes,
             answer_id=uuid.uuid4() if state == "answered" else None)
        for kind, states in (("generation", generations), ("review", reviews))
        for seat, (state, ready, where, crashes) in enumerate(states)
    ]  # fmt: skip
    step = next_step(len(generations), rows)
    if not isinstance(step, Ask | Conclude):
        return
    header, body = parts(canvas(APP, ID, step, urgent=urgent))
    first = "generation" if any(r.kind == "generation" and r.state == "owed" for r in rows) else "review"
    due = [str(r.id) for r in rows if r.kind == first and r.state == "owed" and r.ready]
    assert Counter(one["args"][1] for one in header) == Counter(due)
    for one in header + body:
        version, id_ = one["args"]
        assert version == MESSAGE_VERSION
        assert str(uuid.UUID(id_)) == id_
        assert not one["kwargs"]
        assert one["immutable"]
        assert one["options"]["queue"] in QUEUES


@pytest.mark.parametrize("count", [1, 3])
def test_messages_are_flat_and_small(services: Services, count: int) -> None:
    """What lies in Redis: a message an owed answer, each below 4 kB, with ids and what follows at once."""
    asked = Ask("review", tuple(owed(seat, "review") for seat in range(count)))
    with sending(services) as (app, broker):
        canvas(app, ID, asked, urgent=False).apply_async()
        raw: Any = broker.lrange("remote", 0, -1)
        queued: Any = [broker.llen(queue) for queue in QUEUES]
    assert sum(queued) == len(raw) == count
    known = {str(o.id) for o in asked.owed} | {str(ID)}
    for message in map(json.loads, raw):
        args, kwargs, embedded = json.loads(base64.b64decode(message["body"]))
        assert args[0] == MESSAGE_VERSION
        assert args[1] in known
        assert not kwargs
        follows = [embedded["chord"]] if embedded["chord"] else embedded["chain"]
        tasks = [leaf["task"] for one in follows for leaf in leaves(one)]
        assert sorted(tasks) == ["consilium.announce", "consilium.conclude"]
        assert len(json.dumps(message)) < 4096


def _plain(value: Any) -> Any:
    """Values in one form, so that a list is a tuple and a time span its seconds."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    return tuple(value) if isinstance(value, list | tuple) else value


def test_nobody_listens_for_results(services: Services) -> None:
    """A chord that is sent subscribes to none of its members' results."""
    with sending(services) as (app, broker):

        def subscriptions() -> int:
            stats: Any = broker.info("commandstats")
            return int(stats.get("cmdstat_subscribe", {"calls": 0})["calls"])

        before = subscriptions()
        canvas(app, ID, Ask("generation", tuple(map(owed, range(3)))), urgent=False).apply_async()
        assert broker.llen("remote") == 3
        assert subscriptions() == before


def test_every_setting_differs_from_celerys_default() -> None:
    """What equals Celery's default is not set: the module lists what is different, and why."""
    ours = celery_config(Settings(_env_file=None, broker_url=BROKER), 900)
    same = [name for name, value in ours.items() if _plain(DEFAULTS.get(name)) == _plain(value)]
    assert same == []
    effective = APP.conf
    assert effective.task_acks_late
    assert effective.task_ignore_result
    assert effective.worker_cancel_long_running_tasks_on_connection_loss is False
    assert list(effective.accept_content) == ["json"]
    assert timedelta(seconds=0) < timedelta(seconds=_plain(effective.result_expires)) <= timedelta(days=1)


LIST_TASKS = """
import json
from workers import tasks
ours = {n: t for n, t in tasks.app.tasks.items() if not n.startswith("celery.")}
print(json.dumps({n: [t.ignore_result, t.acks_late, t.max_retries] for n, t in ours.items()}))
beat = tasks.app.conf.beat_schedule
print(json.dumps([entry["task"] for entry in beat.values()]))
"""


def test_every_task_is_registered_by_name_and_ignores_its_result() -> None:
    """Each task is called `consilium.…`, ignores its result, is acknowledged late; beat sends known ones."""
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models.toml"
        models.write_text(models_toml())
        env = {
            **os.environ,
            "CONSILIUM_HOME": folder,
            "CONSILIUM_MODELS_FILE": str(models),
            "CONSILIUM_SITE_KEY": new_site_key(),
            "CONSILIUM_BROKER_URL": BROKER,
            "CONSILIUM_DATABASE_URL": "postgresql://127.0.0.1:9/none",
        }
        listed = subprocess.run(
            [sys.executable, "-c", LIST_TASKS], cwd=ROOT, env=env, check=True, capture_output=True, text=True
        )
    tasks, scheduled = (json.loads(line) for line in listed.stdout.splitlines())
    assert {"consilium.generate", "consilium.review", "consilium.advance", "consilium.conclude"} <= set(tasks)
    for name, (ignores, late, _) in tasks.items():
        assert name.startswith("consilium."), name
        assert (ignores, late) == (True, True), name
    assert set(scheduled) <= set(tasks)
