"""Progress for people: the live view of a terminal, and one plain line for everything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from db.queries.progress import ModelCalls
from producers.progress import ENDS, STAGES, Progress

STYLES = {
    "generating": "cyan",
    "reviewing": "yellow",
    "concluding": "magenta",
    "completed": "green",
    "needs_review": "bright_yellow",
    "failed": "red",
    "held": "yellow",
}
_NOT_KNOWN = "not known"


def line(progress: Progress) -> str:
    """Everything that matters in one line, without colour."""
    counts, open_ = progress.counts, progress.total - progress.ended
    parts = [_share(progress), _some(counts, ENDS)]
    if open_:
        parts.append(f"open: {_some(counts, STAGES)}")
    if progress.held:
        parts.append(f"held: {_reasons(progress.held)}")
    if not progress.finished:
        parts += [_rate(progress), f"end {_end(progress)}"]
    return " · ".join(part for part in [*parts, _cost(progress)] if part)


def last(progress: Progress) -> str:
    """The end state, in one line."""
    parts = [f"finished after {_time(progress.age_s)}: {line(progress)}", f"calls: {_calls(progress)}"]
    if progress.failures:
        parts.append(f"for a person: {_reasons(progress.failures)}")
    return " · ".join(parts)


def view(progress: Progress, told: str = "") -> RenderableType:
    """The live view; `told` is what is wrong with the view itself at this moment."""
    counts = progress.counts
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column()
    rows.add_row("open", _counted(counts, STAGES))
    rows.add_row("ended", _counted(counts, ENDS))
    if progress.set_aside:
        rows.add_row("set aside", Text(f"{progress.set_aside} records", "yellow"))
    if progress.held:
        rows.add_row("held", Text(_reasons(progress.held), STYLES["held"]))
    if progress.failures:
        rows.add_row("for a person", Text(_reasons(progress.failures)))
    rows.add_row("rate", _rate(progress) or _NOT_KNOWN)
    rows.add_row("end", _end(progress))
    rows.add_row("cost", _cost(progress))
    rows.add_row("calls", _calls(progress))
    parts: list[RenderableType] = [_head(progress), _bar(progress), Text(), rows]
    if progress.calls:
        parts += [Text(), _models(progress.calls)]
    if told:
        parts += [Text(), Text(told, "bold red")]
    return Group(*parts)


def _head(progress: Progress) -> Text:
    if len(progress.batches) == 1:
        [one] = progress.batches
        about = f"{one.source} · {one.purpose} · {one.strategy} {one.n} · {one.state}"
        return Text.assemble((f"submission {one.id}", "bold"), f"  {about}")
    sources = sorted({batch.source for batch in progress.batches})
    open_ = sum(batch.state in ("receiving", "open") for batch in progress.batches)
    about = f"{open_} open · {', '.join(sources)}"
    return Text.assemble((f"{len(progress.batches)} submissions", "bold"), f"  {about}")


def _bar(progress: Progress) -> Table:
    made = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=max(progress.total, 1), completed=progress.ended, width=40, complete_style="cyan")
    made.add_row(bar, _share(progress), _time(progress.age_s))
    return made


def _models(calls: Sequence[ModelCalls]) -> Table:
    made = Table(box=None, pad_edge=False, header_style="dim")
    made.add_column("model", no_wrap=True)
    for name in ("in flight", "answered", "failed", "median"):
        made.add_column(name, justify="right")
    made.add_column("")
    for each in calls:
        why = "" if each.why is None else each.why
        if each.for_s is not None:
            why += f", asked again in {_time(each.for_s)}"
        made.add_row(
            each.model,
            str(each.in_flight),
            str(each.answered),
            Text(str(each.failed), "red" if each.failed else ""),
            "·" if each.median_s is None else f"{each.median_s:.2f} s",
            Text(why, "yellow"),
        )
    return made


def _counted(counts: Mapping[str, int], names: tuple[str, ...]) -> Text:
    """All of these, those that are none in grey."""
    parts = [
        (f"{_word(name)} {counts[name]}", STYLES.get(name, "") if counts[name] else "dim") for name in names
    ]
    return Text("  ").join(Text(*part) for part in parts)


def _some(counts: Mapping[str, int], names: tuple[str, ...]) -> str:
    return ", ".join(f"{counts[name]} {_word(name)}" for name in names if counts[name])


def _reasons(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {_word(reason)}" for reason, n in reasons.items())


def _word(name: str) -> str:
    return name.replace("_", " ")


def _share(progress: Progress) -> str:
    # rounded down: 100 % is the end and nothing else
    return f"{progress.ended} of {progress.total} ended ({int(100 * progress.share)} %)"


def _rate(progress: Progress) -> str:
    if not progress.ended or progress.per_minute is None or progress.per_minute_lately is None:
        return ""
    lately, whole = f"{progress.per_minute_lately:.1f}", f"{progress.per_minute:.1f}"
    return f"{lately} a minute" + (f" lately, {whole} since the start" if lately != whole else "")


def _end(progress: Progress) -> str:
    if progress.finished:
        return "reached"
    if progress.left_s is None:
        why = "nothing has ended yet" if not progress.ended else "nothing ended lately"
        return f"{_NOT_KNOWN}: {'some are held' if progress.held else why}"
    at = datetime.now() + timedelta(seconds=progress.left_s)
    return f"in about {_time(progress.left_s)}, at {at:%H:%M:%S}"


def _cost(progress: Progress) -> str:
    known, all_ = progress.spent_usd, progress.projected_usd
    unknown = f" and {progress.unpriced} calls of unknown cost" if progress.unpriced else ""
    parts = [f"spent {_usd(known)}{unknown}"]
    if not progress.finished:
        parts.append(f"projected {_usd(all_)}")
    if progress.budget_usd is not None:
        parts.append(f"budget {_usd(progress.budget_usd)}")
    return ", ".join(parts)


def _calls(progress: Progress) -> str:
    names = ("in_flight", "answered", "failed", "retries", "rate_limited")
    counted = {name: sum(getattr(each, name) for each in progress.calls) for name in names}
    return _some(counted, names) or "none"


def _usd(value: Decimal | None) -> str:
    return _NOT_KNOWN if value is None else f"{value:.4f} USD"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
