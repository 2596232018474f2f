"""Does it get slower as it fills? Throughput, one sweep and `status`, by how much is stored.

    python benchmarks/growth.py [--sizes 1000,100000,1000000] [--runs 5] [--size 100] [--in-flight 64]

Twenty real consultations are made, then multiplied by INSERT … SELECT until so many are stored, each with
all its rows (keys, texts, seats, owed answers, calls, answers, reviews, consensus, history, events), ids of
their own in the order of their age, and texts cut to 64 bytes. The disk used is printed; a million is skipped
where less than 20 GB are free. Then VACUUM ANALYZE, which autovacuum would come to.

At each size, in turns, five times, the seeded set and one that stores next to nothing (so that another load
on the machine meets both): consultations, then sweeps and `status`, of which each is followed by the other
set's. `status` tells of the newest twenty submissions: in both sets twenty like ones of twenty consultations
are put in as the newest. Bar: throughput and the seconds of sweep and `status`, against the empty set's,
within 20 % of each other at all sizes.
Limits: the stored texts are short and nobody reads them; all is in one source; caches are warm.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shutil
import statistics
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from typing import Any

import psycopg
from figures_set import Set, machine, middle

from producers.nudge import nudge

BAR = 0.20
TEMPLATE = 20  # consultations that are multiplied
PER_SUBMISSION = 50  # templates a submission, hence 1,000 consultations
SHOWN = 20  # submissions that `status` tells of
LATE = 1_000_000_000  # copies from this number on are those shown
PROBES = 15  # of sweep and `status` a run; single ones differ by two
ROOM_GB = 20
CHUNK = 1_000  # templates a statement
TABLES = (
    *("submissions", "data_keys", "clinical_documents", "records", "consultations", "seats", "owed_answers"),
    *("model_calls", "generations", "reviews", "consensus", "interactions", "outbox_events"),
)
# Shared by all: what is copied refers to the same.
SHARED = {"source_id", "model_version_id", "snapshot_id", "event_id"}
OF_SUBMISSION = "submission_id"
COLUMNS = """
    SELECT column_name, data_type FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name = %s AND is_identity = 'NO' AND is_generated = 'NEVER'
    ORDER BY ordinal_position
"""


@dataclass(frozen=True)
class Stored:
    """A set, and the submission in it that is multiplied."""

    whole: Set
    template: uuid.UUID


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", default="1000,100000,1000000")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--size", type=int, default=100, help="consultations a run")
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--probe", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.probe:
        _probe()
        return
    print(f"{machine()}; {asked.size} consultations a run, {asked.in_flight} in flight")
    print("each with its ratio to the empty set's")
    print(f"{'stored':>10} {'GB':>6} {'seeding':>9} {'a second':>9} {'':>18} {'sweep, ms':>9} {'':>18} "
          f"{'status, ms':>9}")  # fmt: skip
    found: dict[int, tuple[float, float, float]] = {}
    with Set(in_flight=asked.in_flight) as seeded, Set(in_flight=asked.in_flight) as empty:
        full, bare = _template(seeded), _template(empty)
        copies = 0
        for size in map(int, asked.sizes.split(",")):
            free_gb = shutil.disk_usage(seeded.home).free / 1e9
            if size >= 1_000_000 and free_gb < ROOM_GB:
                print(f"{size:10} skipped: {free_gb:.0f} GB free, {ROOM_GB} are needed")
                continue
            began = time.monotonic()
            copies = _seed(seeded.url, full.template, copies, size // TEMPLATE)
            found[size] = _measure(full, bare, asked, size, time.monotonic() - began)
    _verdict(found)


def _template(whole: Set) -> Stored:
    """Twenty consultations, run to their end."""
    template = whole.submit(TEMPLATE)
    nudge(whole.settings)
    whole.wait(template)
    return Stored(whole, template)


def _measure(
    seeded: Stored, empty: Stored, asked: argparse.Namespace, size: int, seeding_s: float
) -> tuple[float, float, float]:
    """Print a line; medians over the empty set's: rate, seconds of a sweep, seconds of `status`."""
    rates = [(seeded.whole.run(asked.size, seed=k).rate, empty.whole.run(asked.size, seed=k).rate)
             for k in range(asked.runs)]  # fmt: skip
    for each in (seeded, empty):
        _show(each.whole.url, each.template, LATE + size)
    probes = [_probed(seeded.whole, empty.whole) for _ in range(asked.runs)]
    shares = [ours / theirs for ours, theirs in rates]
    ratios = {
        name: [statistics.median(ours[name] / theirs[name] for ours, theirs in run) for run in probes]
        for name in ("sweep", "status")
    }
    ms = {name: statistics.median(1000 * ours[name] for run in probes for ours, _ in run) for name in ratios}
    with psycopg.connect(seeded.whole.url) as connection:
        gb = Set.ask(connection, "SELECT pg_database_size(current_database())") / 1e9
    print(
        f"{size:10} {gb:6.1f} {seeding_s:7.0f} s {statistics.median(r for r, _ in rates):9.1f} "
        f"{middle(shares, '.2f'):>18} {ms['sweep']:9.0f} {middle(ratios['sweep'], '.2f'):>18} "
        f"{ms['status']:9.0f} {middle(ratios['status'], '.2f'):>18}",
        flush=True,
    )
    return statistics.median(shares), statistics.median(ratios["sweep"]), statistics.median(ratios["status"])


def _probed(seeded: Set, empty: Set) -> list[tuple[dict[str, float], dict[str, float]]]:
    """Seconds of a sweep and of `status` on both sets in turns, each in a process of its own."""
    with contextlib.ExitStack() as stack:
        seeded_probe, empty_probe = (
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, __file__, "--probe"],
                    env=whole.stack.environ,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for whole in (seeded, empty)
        )
        found = [(_ask(seeded_probe), _ask(empty_probe)) for _ in range(PROBES + 1)]
    return found[1:]  # the first warms up


def _ask(probe: subprocess.Popen[str]) -> dict[str, float]:
    assert probe.stdin is not None
    assert probe.stdout is not None
    probe.stdin.write("again\n")
    probe.stdin.flush()
    seconds: dict[str, float] = json.loads(probe.stdout.readline())
    return seconds


def _verdict(found: dict[int, tuple[float, float, float]]) -> None:
    for what, values in zip(
        ("throughput", "sweep", "status"), zip(*found.values(), strict=True), strict=True
    ):
        apart = max(values) / min(values) - 1
        holds = "holds" if apart <= BAR else "DOES NOT HOLD"
        print(f"{what:10} {apart:.0%} between sizes; bar: {BAR:.0%}, {holds}")


def _seed(url: str, template: uuid.UUID, copies: int, wanted: int) -> int:
    """Multiply that submission until there are so many copies of it; how many there are."""
    moment = "interval '1 minute' * k - interval '40 days'"
    with psycopg.connect(url, autocommit=True) as connection:
        for first in range(copies + 1, wanted + 1, CHUNK):
            last = min(first + CHUNK - 1, wanted)
            _copies(connection, template, first, last, per_submission=PER_SUBMISSION, moment=moment)
        connection.execute("VACUUM (ANALYZE)")
    return max(copies, wanted)


def _show(url: str, template: uuid.UUID, first: int) -> None:
    """Have the newest submissions be twenty copies, whatever else is stored."""
    with psycopg.connect(url, autocommit=True) as connection:
        # later than anything that has run
        moment = f"interval '1 day' + interval '1 second' * (k - {LATE})"
        _copies(connection, template, first, first + SHOWN - 1, per_submission=1, moment=moment)
        connection.execute("VACUUM (ANALYZE)")


def _copies(
    connection: psycopg.Connection[Any],
    template: uuid.UUID,
    first: int,
    last: int,
    *,
    per_submission: int,
    moment: str,
) -> None:
    """Copies `first` to `last` of the template, all of their rows; `moment` is added to theirs."""
    connection.execute("SET session_replication_role = replica")  # no check of references: they are ours
    connection.execute("SET synchronous_commit = off")
    connection.execute("SET statement_timeout = 0")
    values = {"first": first, "last": last, "template": template}
    for table in TABLES:
        connection.execute(_copy(connection, table, per_submission, moment), values)


def _copy(connection: psycopg.Connection[Any], table: str, per_submission: int, moment: str) -> str:
    """INSERT … SELECT of a table's rows of the template, times the copies k from `first` to `last`.

    A copy's id is the template's with the 48 bits of time replaced by k: ids of one age lie together, as ours
    do.
    """
    columns = connection.execute(COLUMNS, (table,)).fetchall()
    values = []
    for name, kind in columns:
        if name == OF_SUBMISSION or (table == "submissions" and name == "id"):
            value = _moved(name, f"k / {per_submission}")
        elif kind == "uuid" and name not in SHARED and not name.endswith("_snapshot_id"):
            value = _moved(name, "k")
        elif name == "event_id":
            value = "gen_random_uuid()"
        elif kind == "timestamp with time zone":
            value = f"t.{name} + {moment}"
        elif name == "ordinal":
            value = f"t.ordinal + {TEMPLATE} * (k %% {per_submission})"
        elif name == "ciphertext":
            value = "substr(t.ciphertext, 1, 64)"
        else:
            value = f"t.{name}"
        values.append(value)
    names = ", ".join(name for name, _ in columns)
    times = f"k %% {per_submission} = 0 OR k = %(first)s::int" if table == "submissions" else "true"
    return f"""
        INSERT INTO {table} ({names})
        SELECT {", ".join(values)} FROM {table} t, generate_series(%(first)s::int, %(last)s::int) k
        WHERE {_of_template(table)} AND ({times})
        ON CONFLICT DO NOTHING
    """


def _moved(name: str, k: str) -> str:
    high = f"lpad(to_hex({k}), 12, '0')"
    return f"(substr({high}, 1, 8) || '-' || substr({high}, 9) || substr(t.{name}::text, 14))::uuid"


def _of_template(table: str) -> str:
    """Which rows of the table belong to the template."""
    consultations = "SELECT id FROM consultations WHERE submission_id = %(template)s"
    documents = f"consultation_id IN ({consultations})"
    return {
        "submissions": "t.id = %(template)s",
        "records": "t.submission_id = %(template)s",
        "consultations": "t.submission_id = %(template)s",
        "outbox_events": "t.submission_id = %(template)s",
        "model_calls": f"t.owed_answer_id IN (SELECT id FROM owed_answers WHERE {documents})",
        "clinical_documents": f"(t.{documents} OR t.id IN "
        "(SELECT document_id FROM records WHERE submission_id = %(template)s))",
        "data_keys": "t.id IN (SELECT key_id FROM clinical_documents WHERE id IN "
        "(SELECT document_id FROM records WHERE submission_id = %(template)s))",
    }.get(table, f"t.{documents}")


def _probe() -> None:
    """Seconds of a sweep and of `status` in the set's environment, for each line that is read."""
    import workers.app  # noqa: F401 - the tasks read the configuration that it makes
    from producers.cli.common import Format
    from producers.cli.status import status
    from workers.tasks import resume_stalled

    for _ in sys.stdin:
        began = time.monotonic()
        resume_stalled()
        swept = time.monotonic()
        with contextlib.redirect_stdout(io.StringIO()):
            status(submission=None, format_=Format.json)
        ended = time.monotonic()
        print(json.dumps({"sweep": swept - began, "status": ended - swept}), flush=True)


if __name__ == "__main__":
    main()
