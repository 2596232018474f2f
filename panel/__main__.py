"""`python -m panel serve` starts the simulated panel; `python -m panel models` prints its models.toml."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from panel.faults import PRESETS, RATES, FaultError, Faults
from panel.models import models_toml
from panel.server import Panel, serve


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code: 0 done, 1 the address is taken, 2 a wrong setting."""
    options = _parser().parse_args(arguments)
    if options.command == "models":
        print(
            models_toml(
                options.base_url, local_url=options.home_url_for_local, time_scale=options.time_scale
            ),
            end="",
        )
        return 0
    try:
        faults = _faults(options)
    except (FaultError, OSError) as error:
        print(f"panel: {error}", file=sys.stderr)
        return 2
    panel = Panel(seed=options.seed, time_scale=options.time_scale, faults=faults, delay_s=options.delay)
    try:
        asyncio.run(serve(panel, options.host, options.port))
    except OSError as error:
        print(f"panel: cannot listen on {options.host}:{options.port}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _faults(options: argparse.Namespace) -> Faults:
    base = Faults.read(options.faults) if options.faults in PRESETS else Faults.load(Path(options.faults))
    single = {name: getattr(options, f"rate_{name}") for name in RATES}
    return Faults({**base.rates, **{k: v for k, v in single.items() if v is not None}}, base.models)


def _not_negative(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError("must be a number from 0")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="panel", description="Twelve simulated language models over HTTP.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("serve", help="start the server")
    run.add_argument("--port", type=int, required=True, help="0 takes a free one and prints it")
    run.add_argument("--host", default="127.0.0.1")
    run.add_argument("--seed", type=int, default=0, help="another seed, other draws: for repeats")
    run.add_argument("--time-scale", type=_not_negative, default=1.0, help="factor on every latency")
    run.add_argument(
        "--delay", type=_not_negative, help="fixed seconds a call, instead of the planted latencies"
    )
    run.add_argument("--faults", default="default", help="off, default, or a .toml or .json file of rates")
    for name in RATES:
        flag = f"--rate-{name.replace('_', '-')}"
        run.add_argument(flag, type=float, dest=f"rate_{name}", metavar="SHARE", help="overrides --faults")
    table = commands.add_parser("models", help="print the panel's models.toml")
    table.add_argument("--base-url", required=True, help="such as http://127.0.0.1:8123/v1")
    table.add_argument("--home-url-for-local", help="another address for the models of location local")
    table.add_argument("--time-scale", type=_not_negative, default=1.0)
    return parser


if __name__ == "__main__":
    sys.exit(main())
