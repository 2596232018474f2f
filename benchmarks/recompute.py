"""Recomputing chemistry and the reviewers' memory on a large history: time and peak memory of each process.

    python benchmarks/recompute.py [ROWS]

A throw-away PostgreSQL gets a synthetic history (seeded by hashes; nothing in it is real): 30 models, 20
kinds, consultations of four models drawn at random, so nearly every ensemble is another one, which is the
worst case for memory; in each all grade each other, three grades a row. Measured at a quarter, half and all
of ROWS (default a million), each in a process of its own: chemistry's `aggregates`, and `learn` on top of it;
the sums of the grades, and the memory estimated from them. Bars: peak memory below 300 MiB, time linear in
the rows.
"""

from __future__ import annotations

import importlib.util
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from db import migrate
from db.engine import transaction
from db.queries.history import aggregates
from db.recompute import MAKERS, Read
from embedded.services import Services
from shared.settings import Settings

MODELS, KINDS, SEATS = 30, 20, 4
BAR_MIB = 300

# Parents that nothing here reads (submissions, records, texts) are left out: no foreign key is checked.
PREPARE = "SET session_replication_role = replica"

VERSIONS = """
    INSERT INTO model_versions
        (id, provider, name, returned, parameters_digest, family, location, simulated)
    SELECT md5('m' || m)::uuid, 'bench', 'model-' || m, 'r', 'p', 'family-' || m / 4, 'local', true
    FROM generate_series(0, %(models)s::int - 1) m
"""

CONSULTATIONS = """
    INSERT INTO consultations
        (id, source_id, submission_id, record_id, document_id, vignette_digest, kind, purpose, priority,
         protocol, strategy, n, seed, allowed, explored, generate_prompt_id, review_prompt_id,
         settings_digest, reviewers_snapshot_id, stall_s, state, stage, ended_at)
    SELECT md5('c' || k)::uuid, s.id, s.id, md5('c' || k)::uuid, s.id, sha256(('v' || k %% 50000)::bytea),
           'bench/' || k %% %(kinds)s::int, 'care', 1, 'review', 'RANDOM', %(seats)s::int, k, '{}', false,
           'p', 'p', 'd', s.id, 1, 'completed', 'ended', now()
    FROM generate_series(%(first)s::int, %(last)s::int) k, sources s WHERE s.name = 'local'
"""

SEATED = """
    INSERT INTO seats (consultation_id, source_id, seat, occupancy, model_version_id, left_because)
    SELECT md5('c' || k)::uuid, s.id, d.seat, 1, md5('m' || d.model)::uuid,
           CASE WHEN hashint8extended(k, d.seat) %% 50 = 0 THEN 'unavailable' END
    FROM generate_series(%(first)s::int, %(last)s::int) k, sources s, LATERAL (
        SELECT m AS model, row_number() OVER () - 1 AS seat
        FROM (SELECT m FROM generate_series(0, %(models)s::int - 1) m ORDER BY hashint8extended(m, k)
              LIMIT %(seats)s::int) drawn
    ) d WHERE s.name = 'local'
"""

INTERACTIONS = """
    INSERT INTO interactions
        (consultation_id, source_id, seat, occupancy, model_version_id, kind, purpose, latency_s, quality,
         variance, generation_accuracy, review_accuracy)
    SELECT c.id, c.source_id, s.seat, 1, s.model_version_id, c.kind, 'care', 1 + h / 100.0, h / 100.0, 0.01,
           (h %% 100 < 60)::int, 0.5 + h / 2000.0
    FROM consultations c JOIN seats s ON s.consultation_id = c.id AND s.source_id = c.source_id,
    LATERAL (SELECT abs(hashint8extended(c.seed, s.seat + 77) %% 1000) AS h) r
    WHERE c.seed BETWEEN %(first)s AND %(last)s
"""

CONSENSUS = """
    INSERT INTO consensus (consultation_id, source_id, form, snapshot_id, grade, support, detail, was_right)
    SELECT id, source_id, 'mean', reviewers_snapshot_id, abs(hashint8extended(seed, 5) %% 1000) / 1000.0,
           '{}', '{}', abs(hashint8extended(seed, 6) %% 100) < 70
    FROM consultations WHERE seed BETWEEN %(first)s AND %(last)s
"""

# One consultation a second; its reviews come within ten minutes, among those of others.
REVIEWS = """
    INSERT INTO reviews
        (id, source_id, consultation_id, owed_answer_id, generation_id, seat, occupancy, model_version_id,
         raw_document_id, document_id, grade, label, position, scrubbed, created_at)
    SELECT r.id, c.source_id, c.id, r.id, md5('g' || c.seed || ' ' || i.seat)::uuid, u.seat, 1,
           u.model_version_id, c.id, c.id, abs(hashint8extended(c.seed, r.edge) %% 101) / 100.0, 'A', 0, 0,
           timestamptz '2026-01-01'
               + make_interval(secs => c.seed + abs(hashint8extended(c.seed, r.edge) %% 600))
    FROM consultations c
    JOIN seats u ON u.consultation_id = c.id AND u.source_id = c.source_id
    JOIN seats i ON i.consultation_id = c.id AND i.source_id = c.source_id AND i.seat <> u.seat,
    LATERAL (SELECT 100 + 10 * i.seat + u.seat AS edge,
                    md5('r' || c.seed || ' ' || i.seat || ' ' || u.seat)::uuid AS id) r
    WHERE c.seed BETWEEN %(first)s AND %(last)s
"""


def main() -> None:
    """Seed, measure at three sizes, print."""
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    home = Path(tempfile.mkdtemp(prefix="consilium-bench-"))
    home.chmod(0o755)
    with Services(home / "services", {}) as services:
        url = services.addresses.database_url
        migrate.upgrade(url)
        print(f"synthetic history: {MODELS} models, {KINDS} kinds, {SEATS} seats, all ensembles at random")
        first = 0
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(PREPARE)
            connection.execute(VERSIONS, {"models": MODELS})
            for share in (4, 2, 1):
                last = total // SEATS // share - 1
                span = {"first": first, "last": last, "models": MODELS, "kinds": KINDS, "seats": SEATS}
                for statement in (CONSULTATIONS, SEATED, INTERACTIONS, CONSENSUS, REVIEWS):
                    connection.execute(statement, span)
                connection.execute("ANALYZE")
                first = last + 1
                for kind in MEASURES:
                    command = [sys.executable, __file__, "--measure", kind, url]
                    print(subprocess.run(command, check=True, capture_output=True, text=True).stdout, end="")


def chemistry(url: str) -> str:
    """One recomputation of chemistry in this process, without storing its snapshot."""
    empty = _peak_mib()
    started = time.monotonic()
    with transaction(url) as session:
        found = aggregates(session, ["care"])
    summed = time.monotonic()
    told = (
        f"{found.rows:>9,} rows: aggregates {summed - started:6.1f} s, {len(found.models):,} models × kinds, "
        f"{len(found.pairs):,} pairs, {len(found.ensembles):,} ensembles, peak {_peak_mib():.0f} MiB "
        f"(before: {empty:.0f})"
    )
    if importlib.util.find_spec("shared.chemistry.effects"):
        from shared.chemistry.effects import learn

        learn(found)
        told += f"; learn {time.monotonic() - summed:6.1f} s"
    return told


def reviewers(url: str) -> str:
    """One recomputation of the reviewers' memory in this process, without storing its snapshot."""
    empty, started = _peak_mib(), time.monotonic()
    with transaction(url) as session:
        made = MAKERS["reviewers"](session, Settings(_env_file=None), Read(("care",)))
    if made is None:
        sys.exit("no grades were found")
    summed, peak = time.monotonic(), _peak_mib()
    made.body()
    return (
        f"{made.rows:>9,} grades: sums {summed - started:6.1f} s, peak {peak:.0f} MiB (before: {empty:.0f}); "
        f"estimate {time.monotonic() - summed:6.1f} s"
    )


MEASURES = {"chemistry": chemistry, "reviewers": reviewers}


def measure(kind: str, url: str) -> None:
    """Print what one recomputation took."""
    told = MEASURES[kind](url)
    peak = _peak_mib()
    print(f"{told}; peak {peak:.0f} MiB, {'below' if peak < BAR_MIB else 'NOT below'} {BAR_MIB}", flush=True)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(*sys.argv[2:])
    else:
        main()
