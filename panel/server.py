"""The panel's HTTP side: OpenAI's chat completions, and a control desk for tests.

    POST /v1/chat/completions   GET /v1/models
    GET /ledger                 POST /ledger/reset
    GET, POST /control/faults   a preset's name or a table of rates, see `faults`
    GET, POST /control/limits   what it bears at once and a minute, see `capacity`
    POST /control/delay         {"seconds": 1.0}: every call takes so long; {"seconds": null}: as planted
    GET /health

A call is open until it is answered or its client's connection is gone. An X-Request-ID "<key>:<attempt>"
names the owed answer and the attempt: the key reaches the ledger alone, the attempt faults and latency alone.
"""

from __future__ import annotations

import asyncio
import json
import math
import resource
import signal
import time
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Any

from aiohttp import web

from panel.answering import believe
from panel.capacity import Capacity, Limits
from panel.case import case_text, read_case
from panel.chance import choice, digest, normal, uniform
from panel.faults import Faults, malformed
from panel.ledger import Call, Ledger
from panel.models import MODELS, Model
from panel.reviewing import grade, read_shown
from panel.wording import dress, write_recommendation

CHARS_PER_TOKEN = 4
CONTEXT_TOKENS = 16_000
BACKLOG = 4096
OPEN_FILES = 65_536
REFUSAL = "I'm sorry, but I can't help with medical treatment decisions."


@dataclass
class Panel:
    """What one running panel consists of."""

    seed: int = 0
    time_scale: float = 1.0
    faults: Faults = field(default_factory=lambda: Faults.read("default"))
    delay_s: float | None = None  # a fixed latency instead of the planted ones
    ledger: Ledger = field(default_factory=Ledger)
    capacity: Capacity = field(default_factory=Capacity)


@dataclass(frozen=True)
class Reply:
    """A finished answer to one request: which call it was (for the draws), what it says, what it costs."""

    what: tuple[object, ...]
    is_review: bool
    answer: dict[str, Any]
    text: str
    prompt_tokens: int


class BadRequest(ValueError):
    """The request itself is wrong; `code` is OpenAI's slug."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def make_reply(panel: Panel, model: Model, body: dict[str, Any], attempt: int) -> Reply:
    """What the model says to the request, and the parts that all draws about this call hang on.

    Labels, fences and request keys are no parts: the same case and list give the same answer and grade, under
    the same `seed` of the request (none: the panel's own).
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("invalid_messages", "messages must be a list that is not empty")
    try:
        texts = [(str(message["role"]), str(message["content"])) for message in messages]
    except (TypeError, KeyError):
        raise BadRequest("invalid_messages", "every message needs role and content") from None
    prompt_tokens = math.ceil(sum(len(text) for _, text in texts) / CHARS_PER_TOKEN)
    if prompt_tokens > CONTEXT_TOKENS:
        raise BadRequest("context_length_exceeded", f"the prompt is longer than {CONTEXT_TOKENS} tokens")
    prompt = next((text for role, text in texts if role == "user"), "")
    repairs = sum(role == "assistant" for role, _ in texts)
    case = read_case(case_text(prompt))
    seed = panel.seed
    if isinstance(body.get("seed"), int):  # the same model may say something else under another seed
        seed = int(digest(panel.seed, body["seed"])[:12], 16)
    if uniform("heedless", seed, model.name, case.key) < panel.faults.rate(model.name, "heedless"):
        case = replace(case, heeds=False)
    wanted = _json_schema(body)
    is_review = wanted.get("name") == "review" if wanted.get("name") else "\n<<<" in prompt
    answer: dict[str, Any]
    if is_review:
        shown = read_shown(prompt)
        number, critique = grade(model, case, shown, prompt, seed)
        answer, key = {"grade": number, "critique": critique}, digest(case.key, shown.key)
    else:
        planting = panel.faults.rate(model.name, "planting")
        answer = write_recommendation(model, case, believe(model, case, seed), seed, planting=planting)
        key = case.key
    what = (seed, model.name, key, is_review, attempt, repairs)
    text = dress(model, key, answer, seed, plain=repairs > 0)
    return Reply(what, is_review, answer, text, prompt_tokens)


def latency_s(panel: Panel, model: Model, reply: Reply) -> float:
    """Seconds until the answer: log-normal around the model's median (a review: half of it), or fixed."""
    if panel.delay_s is not None:
        return panel.delay_s
    median = model.latency_s * (0.5 if reply.is_review else 1.0)
    return median * math.exp(model.spread * normal("latency", *reply.what)) * panel.time_scale


def make_app(panel: Panel) -> web.Application:
    """The application; state lives in `panel`."""

    async def chat(request: web.Request) -> web.Response:
        try:
            body = _object(await request.content.read())  # not request.json(): it would keep the prompt
            name = str(body.get("model"))
            if name not in MODELS:
                raise BadRequest("model_not_found", f"no model {name[:80]!r}", 404)
            if body.get("stream"):
                raise BadRequest("unsupported", "the panel does not stream")
            key, attempt = _request_id(request.headers.get("X-Request-ID"))
            model, reply = MODELS[name], make_reply(panel, MODELS[name], body, attempt)
        except BadRequest as error:
            return _error(error.status, error.code, str(error))
        schema = _json_schema(body).get("schema")
        limit = body.get("max_tokens") or body.get("max_completion_tokens")
        del body  # 2,000 open calls need not hold 2,000 prompts
        with (
            panel.ledger.call(key, name, repair=reply.what[-1] != 0) as call,
            panel.capacity.place(name, time.monotonic()) as refused,
        ):
            if refused is None:
                response = await _answer(panel, model, reply, call, schema, limit)
            else:
                wait = {"Retry-After": str(panel.capacity.limits.retry_after_s)}
                response = _error(429, "rate_limit_exceeded", f"the limit is reached: {refused}", wait)
            call.status = response.status
        return response

    async def models(_: web.Request) -> web.Response:
        rows = [{"id": m.name, "object": "model", "owned_by": f"sim-{m.family}"} for m in MODELS.values()]
        return web.json_response({"object": "list", "data": rows})

    async def ledger(_: web.Request) -> web.Response:
        return web.json_response({**panel.ledger.as_json(), **panel.capacity.as_json()})

    async def reset(_: web.Request) -> web.Response:
        panel.ledger.reset()
        panel.capacity.reset()
        return web.json_response({"reset": True})

    async def get_faults(_: web.Request) -> web.Response:
        return web.json_response(panel.faults.as_json())

    async def set_faults(request: web.Request) -> web.Response:
        try:
            panel.faults = Faults.read(json.loads(await request.content.read()))
        except ValueError as error:  # FaultError, JSONDecodeError
            return _error(400, "invalid_faults", str(error))
        return web.json_response(panel.faults.as_json())

    async def get_limits(_: web.Request) -> web.Response:
        return web.json_response(panel.capacity.limits.as_json())

    async def set_limits(request: web.Request) -> web.Response:
        try:
            panel.capacity.set(Limits.read(json.loads(await request.content.read())))
        except ValueError as error:  # LimitError, JSONDecodeError
            return _error(400, "invalid_limits", str(error))
        return web.json_response(panel.capacity.limits.as_json())

    async def set_delay(request: web.Request) -> web.Response:
        try:
            seconds = _object(await request.content.read()).get("seconds")
        except BadRequest as error:
            return _error(error.status, error.code, str(error))
        if seconds is not None and (not isinstance(seconds, int | float) or not 0 <= seconds < math.inf):
            return _error(400, "invalid_delay", "seconds must be a number from 0, or null")
        panel.delay_s = seconds
        return web.json_response({"seconds": seconds})

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "simulated": True, "seed": panel.seed})

    app = web.Application()
    app.add_routes(
        [
            web.post("/v1/chat/completions", chat),
            web.get("/v1/models", models),
            web.get("/ledger", ledger),
            web.post("/ledger/reset", reset),
            web.get("/control/faults", get_faults),
            web.post("/control/faults", set_faults),
            web.get("/control/limits", get_limits),
            web.post("/control/limits", set_limits),
            web.post("/control/delay", set_delay),
            web.get("/health", health),
        ]
    )
    return app


async def _answer(
    panel: Panel, model: Model, reply: Reply, call: Call, schema: object, limit: object
) -> web.Response:
    fault = call.fault = panel.faults.draw(model.name, *reply.what)
    if fault == "unavailable":
        return _error(503, "unavailable", "the model is not available")
    if fault == "429":
        wait_s = max(1, math.ceil(uniform("wait", *reply.what) * 20 * panel.time_scale))
        as_date = uniform("wait form", *reply.what) < 0.5
        header = formatdate(time.time() + wait_s, usegmt=True) if as_date else str(wait_s)
        return _error(429, "rate_limit_exceeded", "too many requests", {"Retry-After": header})
    call.prompt_tokens = reply.prompt_tokens  # billed from here on, also if the client leaves
    if fault == "hang":
        await asyncio.Event().wait()
    await asyncio.sleep(latency_s(panel, model, reply))
    if fault == "5xx":
        call.prompt_tokens = 0
        return _error(
            choice((500, 502, 503), "status", *reply.what), "server_error", "the server had an error"
        )
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    finish = "stop"
    if fault == "refusal":
        if uniform("refusal", *reply.what) < 0.5:
            message = {"role": "assistant", "content": None, "refusal": REFUSAL}
        else:
            message, finish = {"role": "assistant", "content": ""}, "content_filter"
    elif fault == "malformed":
        message["content"] = malformed(reply.answer, schema, *reply.what)
    elif fault == "over_length":
        message["content"], finish = reply.text[: len(reply.text) // 2], "length"
    elif isinstance(limit, int) and len(reply.text) > limit * CHARS_PER_TOKEN:
        message["content"], finish = reply.text[: limit * CHARS_PER_TOKEN], "length"
    said = message["content"] or message.get("refusal") or ""
    call.completion_tokens = math.ceil(len(said) / CHARS_PER_TOKEN)
    usage = {"prompt_tokens": reply.prompt_tokens, "completion_tokens": call.completion_tokens}
    usage["total_tokens"] = sum(usage.values())
    return web.json_response(
        {
            "id": f"chatcmpl-{digest(*reply.what)}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": model.returned_name,
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": usage,
        }
    )


def _object(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except ValueError:
        raise BadRequest("invalid_json", "the body is no JSON") from None
    if not isinstance(body, dict):
        raise BadRequest("invalid_json", "the body must be a JSON object")
    return body


def _json_schema(body: dict[str, Any]) -> dict[str, Any]:
    """{"name", "schema"} of the asked format; empty where none is asked."""
    wanted = body.get("response_format")
    inner = wanted.get("json_schema") if isinstance(wanted, dict) else None
    return inner if isinstance(inner, dict) else {}


def _request_id(header: str | None) -> tuple[str | None, int]:
    """(key or None, attempt from 1) of "<key>:<attempt>"; without a number the attempt is 1."""
    key, _, attempt = (header or "").partition(":")
    return key or None, int(attempt) if attempt.isdecimal() else 1


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    error = {"message": message, "type": code, "code": code}
    return web.json_response({"error": error}, status=status, headers=headers)


def raise_file_limit() -> None:
    """Lifts the soft limit of open files to `OPEN_FILES` or the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def serve(panel: Panel, host: str, port: int) -> None:
    """Serves until SIGINT or SIGTERM; port 0 takes a free one. Prints the address once it listens."""
    raise_file_limit()
    runner = web.AppRunner(
        make_app(panel),
        handler_cancellation=True,
        access_log=None,
        keepalive_timeout=3600,  # clients reuse connections; ours must not close first
        shutdown_timeout=0.2,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
        bound = runner.addresses[0][1]
        print(f"simulated panel listening on http://{host}:{bound}", flush=True)
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await stop.wait()
    finally:
        await runner.cleanup()
