"""`consilium evaluate`: vignettes with gold, several ways to answer them, measured and compared."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from producers.cli.common import Away, Format, database, err, out, registry, vault
from producers.evaluation import page, reports, run, terminal
from producers.evaluation.measure import measured
from producers.evaluation.measured import Measured
from producers.evaluation.spec import STRATEGIES, Meta, Spec, generated, material
from producers.health import flows
from shared.errors import SettingsError
from shared.family_mix import Families
from shared.settings import Settings, get_settings

EXIT_INTERRUPTED = 130
SAID_EVERY_S = 15.0
BEGINNING_S = 15.0
"""So long a set of processes that has just been started may need until work flows."""


def evaluate(
    vignettes: Annotated[Path, typer.Option(help="NDJSON with gold.")] = Path("examples/vignettes.ndjson"),
    strategies: Annotated[
        str, typer.Option(help="Of LOCAL, REMOTE, RANDOM, PERFORMANCE, CHEMISTRY; single: each model alone.")
    ] = ",".join(STRATEGIES),
    sizes: Annotated[str, typer.Option(help="Models in an ensemble: 2 to 12, with commas.")] = "3",
    families: Annotated[str, typer.Option(help="Of any, same and mixed, with commas.")] = "any",
    repeats: Annotated[int, typer.Option(min=1, help="How often each arm answers everything.")] = 3,
    seed: Annotated[int, typer.Option(min=0, max=2**62, help="Seed of draws and of generated cases.")] = 1,
    train: Annotated[Path | None, typer.Option(help="NDJSON with gold to learn from first.")] = None,
    train_generated: Annotated[
        int, typer.Option(min=0, help="Learn first from so many simulated vignettes; 0: from none.")
    ] = 0,
    source: Annotated[str, typer.Option(help="As whose vignettes; its policy holds.")] = "local",
    report: Annotated[str, typer.Option(help="Named reports with commas, or all.")] = "paper",
    html: Annotated[Path | None, typer.Option(help="Write the reports as one page, too.")] = None,
    format_: Annotated[Format, typer.Option("--format", help="table or json.")] = Format.table,
) -> None:
    """Run an evaluation through the real pipeline, or go on with it, and report.

    Needs a running `consilium up` (or your own workers). The same command goes on after any interruption and
    pays nothing twice. What chooses and calibrates is frozen first; without --train or --train-generated it
    is what the site has in force.
    """
    if format_ not in (Format.table, Format.json):
        raise SettingsError("--format is table or json")
    if train is not None and train_generated:
        raise SettingsError("--train and --train-generated: give one of them")
    names = list(reports.REPORTS) if report == "all" else _listed(report)
    if not names or any(name not in reports.REPORTS for name in names):  # said before anything is paid
        raise SettingsError(f"--report is all, or of {', '.join(reports.REPORTS)}")
    settings = get_settings()
    spec = Spec(
        vignettes=material(vignettes),
        strategies=tuple(name.upper() for name in _listed(strategies)),
        sizes=tuple(_numbers(sizes)),
        families=cast(tuple[Families, ...], tuple(_listed(families.lower()))),  # Spec.arms checks them
        repeats=repeats,
        seed=seed,
        train=material(train) if train else generated(train_generated, seed) if train_generated else None,
        source=source,
    )
    _require_work_to_flow(settings)
    try:
        with _progress() as progress:
            made = run.Run(spec, settings=settings, registry=registry(), vault=vault(), progress=progress)
            meta = made.go_on()
    except KeyboardInterrupt:
        err.print(
            "interrupted: what was accepted is stored and goes on by itself; the same command goes on from "
            "here and pays nothing twice"
        )
        raise typer.Exit(EXIT_INTERRUPTED) from None
    with database() as session:
        rows = measured(session, made.id, vault())
    for sentence in undrawn(rows):
        err.print(sentence, style="yellow", highlight=False, markup=False)
    built = reports.build(names, rows, meta)
    if html is not None:
        page.write(html, built, meta)
    if format_ is Format.json:
        print(json.dumps(reports.as_json(built, meta), indent=2))
        return
    for line in told(meta):
        out.print(line, highlight=False, markup=False, soft_wrap=True)
    terminal.print_reports(built)


def told(meta: Meta) -> Iterator[str]:
    """What stands above the reports, in sentences."""
    if meta.simulated:
        yield "Models are simulated: no evidence on real ones."
    yield (
        f"evaluation {meta.evaluation}: {meta.vignettes} vignettes × {len(meta.arms)} arms × {meta.repeats} "
        f"repeats · accepted {meta.accepted} · ended {meta.ended} · lost {meta.lost} · calls {meta.calls} · "
        f"paid twice {meta.paid_twice}"
    )
    history = (
        f"learned from {meta.trained_on} consultations ({meta.training})"
        if meta.training
        else "the site's own snapshots choose and calibrate"
    )
    numbers = ", ".join(f"{kind} {'none' if n is None else n}" for kind, n in meta.snapshots.items())
    yield f"{history} · frozen: {numbers} · overlap with the test's vignettes: {meta.overlap}"


def undrawn(rows: Sequence[Measured]) -> Iterator[str]:
    """A sentence for each arm that asked for history where there was none: it drew as RANDOM does."""
    for arm in dict.fromkeys(row.arm for row in rows):
        of_arm = [row for row in rows if row.arm == arm]
        random = sum(row.drawn_as != row.strategy for row in of_arm)
        if random:
            yield (
                f"{arm}: {random} of {len(of_arm)} drew as RANDOM, for want of history: learn first with "
                "--train FILE or --train-generated 300"
            )


def _require_work_to_flow(settings: Settings) -> None:
    settings.require_broker()
    until = time.monotonic() + BEGINNING_S
    while (broken := [c for c in flows(settings) if c.level == "problem"]) and time.monotonic() < until:
        time.sleep(1)
    if broken:
        told_of = "; ".join(f"{check.name}: {check.told}" for check in broken)
        raise Away(f"nothing would be worked on ({told_of}): start `consilium up`, then the same command")


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in _listed(text)]
    except ValueError:
        raise SettingsError("--sizes takes whole numbers with commas, as 2,3,5") from None


@contextmanager
def _progress() -> Iterator[run.Progress]:
    """A bar on a terminal, else a plain line now and then and at each end."""
    said: dict[str, float] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, all_: int) -> None:
            if err.is_terminal:
                if what not in tasks:
                    tasks[what] = bars.add_task(what, total=all_)
                bars.update(tasks[what], completed=done)
            elif done == all_ or time.monotonic() - said.get(what, -SAID_EVERY_S) >= SAID_EVERY_S:
                said[what] = time.monotonic()
                err.print(f"{what}: {done} of {all_} ended", highlight=False)

        yield tell
