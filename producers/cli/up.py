"""`consilium up`: everything on this machine, in the foreground, until Ctrl-C."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from producers.cli.stack import Stack, real_models
from shared.errors import SettingsError

_COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "bright_red", "bright_cyan", "bright_yellow")
_WIDTH = 10  # of the longest name, "quarantine"
_SAME_SIGNAL_S = 0.5  # wrappers such as timeout(1) send one signal twice: to the process and to its group


class _Printer:
    """Prints each line behind the name of its process, coloured on a terminal."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._colours: dict[str, str] = {}
        self._closed = False

    def __call__(self, name: str, line: str) -> None:
        with self._lock:
            colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
            self._print(f"{typer.style(f'{name:<{_WIDTH}} |', fg=colour)} {line}")

    def block(self, text: str) -> None:
        """Print a block of our own."""
        with self._lock:
            self._print(f"\n{text}\n")

    def _print(self, text: str) -> None:
        if self._closed:
            return
        try:
            typer.echo(text)
        except OSError:  # whoever read us has gone (`| head`): no reason to stop the processes
            self._closed = True


@contextmanager
def stopping_on_signals(stack: Stack) -> Iterator[None]:
    """Inside, the first SIGINT, SIGTERM or SIGHUP raises KeyboardInterrupt; a later one kills everything.

    Main thread only. It must be around the stack's own `with`, so that the second is heard while it stops.
    """
    asked = 0.0

    def handle(*_: object) -> None:
        nonlocal asked
        if not asked:
            asked = time.monotonic()
            raise KeyboardInterrupt
        if time.monotonic() - asked > _SAME_SIGNAL_S:
            stack.kill_all()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before: dict[signal.Signals, Any] = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def up(
    workers: Annotated[int, typer.Option(min=1, help="How many processes call models.")] = 2,
    panel: Annotated[
        bool | None,
        typer.Option(
            "--panel/--no-panel", help="Run the simulated panel; default: if no models file is set."
        ),
    ] = None,
    time_scale: Annotated[
        float,
        typer.Option(min=0, help="Factor on the simulated models' latencies; 1 is as slow as real ones."),
    ] = 0.1,
    yes_embedded: Annotated[
        bool, typer.Option("--yes-embedded", help="Go on with real models on the embedded database.")
    ] = False,
) -> None:
    """Run everything on this machine until Ctrl-C: servers, migrations, workers, beat, Flower, panel.

    With CONSILIUM_DATABASE_URL and CONSILIUM_BROKER_URL set, those servers are used and none is started.
    """
    echo = _Printer()
    home = Path(os.environ.get("CONSILIUM_HOME") or ".consilium")
    stack = Stack(home, workers=workers, panel=panel, time_scale=time_scale, echo=echo)
    if stack.embedded and not yes_embedded:
        _refuse_real_models(stack)
    with stopping_on_signals(stack):
        try:
            with stack:
                stack.wait_ready()
                echo.block(_welcome(stack))
                threading.Event().wait()
        except KeyboardInterrupt:
            pass
    echo.block(_goodbye(stack))


def _refuse_real_models(stack: Stack) -> None:
    real = real_models(stack.settings.models_file) if stack.settings.models_file else []
    if real:
        raise SettingsError(
            f"{len(real)} of the models in CONSILIUM_MODELS_FILE are real ({', '.join(real[:3])}), and the "
            "embedded database is for trying: no backup, one machine. Set CONSILIUM_DATABASE_URL and "
            "CONSILIUM_BROKER_URL to servers of your own, or go on with --yes-embedded"
        )


def _welcome(stack: Stack) -> str:
    user, password = stack.flower_auth
    command = "consilium" if shutil.which("consilium") else str(Path(sys.executable).with_name("consilium"))
    if stack.home != Path(".consilium").absolute():
        command = f"CONSILIUM_HOME={shlex.quote(str(stack.home))} {command}"
    embedded = " and ".join(sorted(stack.addresses.embedded))
    lines = [
        "Consilium is up.",
        f"  Flower   {stack.flower_url}   user {user}, password {password}",
        f"  Metrics  {stack.metrics_url}/metrics, and /healthz",
        f"  API      {stack.api_url}/v1, its description at /v1/openapi.json",
        f"  Models   simulated, at {stack.panel_url}" if stack.panel_url else "",
        f"  Servers  {embedded}: embedded, for trying" if embedded else "",
        f"  Data     {stack.home} (logs/, connection.env)",
        "Next, in another terminal:",
        f"  {command} submit examples/vignettes.ndjson --wait",
        f"  {command} status",
        "Ctrl-C stops everything within 10 s.",
    ]
    return "\n".join(line for line in lines if line)


def _goodbye(stack: Stack) -> str:
    if stack.given_up is None:
        return "Stopped. How many paid calls were given up is not known: the database did not answer."
    return (
        f"Stopped. {stack.given_up} calls to models were given up in flight: paid, cost not known; "
        "they are made again at the next start."
        if stack.given_up
        else "Stopped. No paid call was given up."
    )
