"""The rival (ii) of throughput.py: nine calls and their rows as the plainest Celery canvas.

Stock settings but for the addresses: early acknowledgement, results in Redis, prefetch 4. No claim, no lease,
no parsing, no sealing; a task that fails is not tried again. An HTTP client and a database connection per
thread: one shared `httpx.Client` would cost each call more the more of them are open.

    chord(generate × 3, reviews) ─► chord(review × 6, done)
"""

from __future__ import annotations

import os
import threading
from typing import Any

import httpx
import psycopg
from celery import Celery, chord

from shared import prompts
from shared.schemas import Vignette

SCHEMA = """
    CREATE TABLE IF NOT EXISTS plain_answers
        (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, consultation bigint, model text, about text,
         body text, at timestamptz DEFAULT now());
    CREATE TABLE IF NOT EXISTS plain_ends (consultation bigint PRIMARY KEY, at timestamptz DEFAULT now())
"""

app = Celery("plain", broker=os.environ.get("PLAIN_BROKER"), backend=os.environ.get("PLAIN_BROKER"))
_mine = threading.local()


def _connection() -> psycopg.Connection[Any]:
    if not hasattr(_mine, "connection"):
        _mine.connection = psycopg.connect(os.environ["PLAIN_DATABASE"], autocommit=True)
        _mine.client = httpx.Client(timeout=60)
    connection: psycopg.Connection[Any] = _mine.connection
    return connection


def _ask(consultation: int, model: str, about: str | None, messages: list[prompts.Message]) -> str:
    connection = _connection()
    body = {"model": model, "messages": messages, "temperature": 0.2, "max_tokens": 1200}
    answer = _mine.client.post(f"{os.environ['PLAIN_PANEL']}/chat/completions", json=body)
    answer.raise_for_status()
    said: str = answer.json()["choices"][0]["message"]["content"]
    connection.execute(
        "INSERT INTO plain_answers (consultation, model, about, body) VALUES (%s, %s, %s, %s)",
        (consultation, model, about, said),
    )
    return said


def start(consultation: int, vignette: dict[str, Any], models: list[str]) -> None:
    """Send one consultation."""
    case = prompts.render_case(Vignette.model_validate(vignette))
    chord(
        [generate.s(consultation, model, case) for model in models], reviews.s(consultation, models, case)
    ).apply_async()


@app.task
def generate(consultation: int, model: str, case: str) -> str:
    """One model's answer."""
    return _ask(consultation, model, None, prompts.generate_messages(prompts.GENERATE, case))


@app.task
def reviews(answers: list[str], consultation: int, models: list[str], case: str) -> None:
    """Everybody reviews everybody else."""
    header = [
        review.s(consultation, reviewer, author, answer, case)
        for author, answer in zip(models, answers, strict=True)
        for reviewer in models
        if reviewer != author
    ]
    chord(header, done.s(consultation)).apply_async()


@app.task
def review(consultation: int, reviewer: str, author: str, answer: str, case: str) -> str:
    """One model's opinion of another's answer."""
    messages = prompts.review_messages(prompts.REVIEW, case, answer, "A", "0123456789abcdef")
    return _ask(consultation, reviewer, author, messages)


@app.task
def done(_opinions: list[str], consultation: int) -> None:
    """The end."""
    _connection().execute("INSERT INTO plain_ends (consultation) VALUES (%s)", (consultation,))
