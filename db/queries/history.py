"""The sums over stored history that chemistry is made from: PostgreSQL adds up, this process reads the sums.

Own interactions and imported rows are one relation, a row for each model that answered in one trial; a trial
is a consultation, or a trial of an imported file. Rows of every strategy count, CHEMISTRY's too: which
models sat is given in each of these sums, so a sample that was chosen needs no other weights in them.

Quality and latency are added as `numeric`, whose sums do not depend on the order of the rows: the same
history has the same digest, whatever plan PostgreSQL takes.
"""

from __future__ import annotations

import hashlib
import re
import sys
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import fields
from itertools import groupby
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.chemistry.aggregates import FOLDS, Aggregates, EnsembleSums, ModelSums, PairSums
from shared.errors import SettingsError

OWN = frozenset({"care", "evaluation", "training", "demo"})
OLDER = 0.25
"""What a row of an earlier version of a model counts, to the power of the number of later versions."""

BOUNDS = text("""
    SELECT set_config('statement_timeout', '30min', true), set_config('work_mem', '64MB', true)
""")

VERSIONS = text("""
    SELECT id, provider, name, returned, parameters_digest, family
    FROM model_versions ORDER BY name, first_seen_at, id
""")

CLEAR = text("DROP TABLE IF EXISTS chemistry_answers, chemistry_trials")

# One row for each model that answered in a trial. A model may sit twice in an imported trial: it counts once,
# with its mean quality and the majority of right. Folds go by the vignette, or by the question where it can
# be told (a trial's most frequent one), or by the trial.
ANSWERS = text("""
    CREATE TEMP TABLE chemistry_answers ON COMMIT DROP AS
    SELECT i.consultation_id::text AS trial, i.kind, v.model, v.weight,
           (('x' || encode(substring(c.vignette_digest FROM 1 FOR 6), 'hex'))::bit(48)::bigint % :folds)::int
               AS fold,
           i.quality, i.generation_accuracy >= 0.5 AS was_right,
           CASE WHEN i.generation_accuracy IS NOT NULL
                THEN coalesce(0.75 * i.generation_accuracy + 0.25 * i.review_accuracy, i.generation_accuracy)
                ELSE coalesce(0.025 * i.quality + 0.75 * i.review_accuracy, i.review_accuracy, i.quality / 10)
           END AS accuracy,
           i.latency_s, 1 AS rows
    FROM interactions i
    JOIN consultations c ON c.id = i.consultation_id AND c.source_id = i.source_id
    JOIN unnest(CAST(:ids AS uuid[]), CAST(:names AS text[]), CAST(:weights AS float8[]))
         AS v (id, model, weight) ON v.id = i.model_version_id
    WHERE i.purpose = ANY(:own)
      AND (CAST(:submissions AS uuid[]) IS NULL OR c.submission_id = ANY(:submissions))
    UNION ALL
    SELECT r.trial, r.kind, r.model, 1.0, (('x' || substr(coalesce(
               max(r.asked), encode(sha256(convert_to(r.trial, 'UTF8')), 'hex')
           ), 1, 12))::bit(48)::bigint % :folds)::int,
           avg(r.quality), CASE WHEN count(r.was_right) > 0 THEN avg(r.was_right::int) > 0.5 END,
           avg(r.accuracy), avg(r.latency_s), count(*)
    FROM (SELECT i.origin || ' ' || i.trial AS trial, i.kind, i.model, i.quality, i.accuracy, i.latency_s,
                 i.generation_accuracy >= 0.5 AS was_right, q.asked
          FROM imported_interactions i
          LEFT JOIN (SELECT origin, trial, mode() WITHIN GROUP (ORDER BY question) AS asked
                     FROM imported_interactions WHERE :every OR origin = ANY(:origins)
                     GROUP BY origin, trial) q ON q.origin = i.origin AND q.trial = i.trial
          WHERE :every OR i.origin = ANY(:origins)) r
    GROUP BY r.trial, r.kind, r.model
""")

# What a trial came to: the consensus, or in an imported trial the answer of the highest quality (the first of
# the file where several share it). It counts as much as its oldest member does.
TRIALS = text("""
    CREATE TEMP TABLE chemistry_trials ON COMMIT DROP AS
    WITH who AS (
        SELECT trial, kind, min(fold) AS fold, min(weight) AS weight,
               array_agg(DISTINCT model COLLATE "C" ORDER BY model COLLATE "C") AS members
        FROM chemistry_answers GROUP BY trial, kind
    ), ends AS (
        SELECT s.consultation_id::text AS trial, c.kind, 10 * s.grade AS quality, s.was_right
        FROM consensus s JOIN consultations c ON c.id = s.consultation_id AND c.source_id = s.source_id
        WHERE c.purpose = ANY(:own)
        UNION ALL
        SELECT origin || ' ' || trial, kind, max(quality),
               (array_agg(generation_accuracy >= 0.5 ORDER BY quality DESC NULLS LAST, place))[1]
        FROM imported_interactions WHERE :every OR origin = ANY(:origins)
        GROUP BY origin, trial, kind
    )
    SELECT who.*, ends.quality, ends.was_right FROM who JOIN ends USING (trial, kind)
""")

ANALYZE = text("ANALYZE chemistry_answers, chemistry_trials")

MODELS = text("""
    SELECT kind COLLATE "C" AS kind, model COLLATE "C" AS model, sum(weight) AS runs,
           coalesce(sum(weight) FILTER (WHERE quality IS NOT NULL), 0) AS quality_runs,
           coalesce(sum((weight * quality)::numeric), 0)::float8 AS quality,
           coalesce(sum((weight * quality * quality)::numeric), 0)::float8 AS quality_squares,
           coalesce(sum(weight) FILTER (WHERE was_right IS NOT NULL), 0) AS outcomes,
           coalesce(sum(weight) FILTER (WHERE was_right), 0) AS right,
           coalesce(sum(weight) FILTER (WHERE accuracy IS NOT NULL), 0) AS accuracy_runs,
           coalesce(sum((weight * accuracy)::numeric), 0)::float8 AS accuracy,
           coalesce(sum(weight) FILTER (WHERE latency_s IS NOT NULL), 0) AS latency_runs,
           coalesce(sum((weight * latency_s)::numeric), 0)::float8 AS latency_s,
           sum(rows)::bigint AS rows
    FROM chemistry_answers GROUP BY 1, 2 ORDER BY 1, 2
""")

# Seats whose generation came to an end, under the model that they were given to.
SEATS = text("""
    SELECT c.kind, v.model, sum(v.weight) AS seats,
           coalesce(sum(v.weight) FILTER (WHERE s.left_because IS NOT NULL OR o.state = 'excused'), 0)
               AS failures
    FROM seats s
    JOIN consultations c ON c.id = s.consultation_id AND c.source_id = s.source_id
    JOIN unnest(CAST(:ids AS uuid[]), CAST(:names AS text[]), CAST(:weights AS float8[]))
         AS v (id, model, weight) ON v.id = s.model_version_id
    LEFT JOIN owed_answers o ON o.consultation_id = s.consultation_id AND o.source_id = s.source_id
         AND o.kind = 'generation' AND o.seat = s.seat AND o.occupancy = s.occupancy AND o.round = 1
    WHERE c.purpose = ANY(:own)
      AND (CAST(:submissions AS uuid[]) IS NULL OR c.submission_id = ANY(:submissions))
      AND (s.left_because IS NOT NULL OR o.state IN ('answered', 'excused'))
    GROUP BY c.kind, v.model
""")

PAIRS = text("""
    SELECT a.kind COLLATE "C" AS kind, a.fold, a.model COLLATE "C" AS a, b.model COLLATE "C" AS b,
           sum(least(a.weight, b.weight)) AS together,
           coalesce(sum(least(a.weight, b.weight)) FILTER (WHERE NOT a.was_right), 0) AS wrong_a,
           coalesce(sum(least(a.weight, b.weight)) FILTER (WHERE NOT b.was_right), 0) AS wrong_b,
           coalesce(sum(least(a.weight, b.weight)) FILTER (WHERE NOT a.was_right AND NOT b.was_right), 0)
               AS wrong_both
    FROM chemistry_answers a
    JOIN chemistry_answers b ON b.trial = a.trial AND b.kind = a.kind
         AND b.model COLLATE "C" > a.model COLLATE "C"
    WHERE a.was_right IS NOT NULL AND b.was_right IS NOT NULL
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
""")

ENSEMBLES = text("""
    SELECT kind COLLATE "C" AS kind, fold, members,
           coalesce(sum(weight) FILTER (WHERE quality IS NOT NULL), 0) AS consultations,
           coalesce(sum((weight * quality)::numeric), 0)::float8 AS quality,
           coalesce(sum((weight * quality * quality)::numeric), 0)::float8 AS quality_squares,
           coalesce(sum(weight) FILTER (WHERE was_right IS NOT NULL), 0) AS outcomes,
           coalesce(sum(weight) FILTER (WHERE was_right), 0) AS right
    FROM chemistry_trials WHERE quality IS NOT NULL OR was_right IS NOT NULL
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
""")


def aggregates(
    session: Session, purposes: Sequence[str], submissions: Sequence[uuid.UUID] | None = None
) -> Aggregates:
    """The sums over all history of these purposes: care, evaluation, training, demo, imported (of whatever
    origin) or imported:ORIGIN; of own consultations only those of these submissions, where some are named.

    Raises `SettingsError` for a purpose that there is not.
    """
    own, origins, every = chosen(purposes)
    versions = list(session.execute(VERSIONS))
    weights = version_weights(versions)
    values: dict[str, Any] = {
        "own": own,
        "origins": origins,
        "every": every,
        "folds": FOLDS,
        "submissions": None if submissions is None else list(submissions),
        "ids": [v.id for v in versions],
        "names": [v.name for v in versions],
        "weights": [weights[v.id] for v in versions],
    }
    for prepare in (BOUNDS, CLEAR, ANSWERS, TRIALS, ANALYZE):
        session.execute(prepare, values)
    families = {v.name: v.family for v in versions}  # the newest version's: they come in order
    digest = hashlib.sha256()

    def read(statement: Any) -> Iterator[dict[str, Any]]:
        for row in session.execute(statement, values, execution_options={"yield_per": 2000}):
            digest.update(repr(tuple(row)).encode())
            yield {k: sys.intern(v) if isinstance(v, str) else v for k, v in row._mapping.items()}
        digest.update(b"\n")

    models, rows = _models(list(read(MODELS)), session.execute(SEATS, values), families)
    digest.update(repr(models).encode())
    pairs = [PairSums(**row) for row in read(PAIRS)]
    ensembles = [
        EnsembleSums(**{**row, "members": tuple(map(sys.intern, row["members"]))}) for row in read(ENSEMBLES)
    ]
    session.execute(CLEAR)
    return Aggregates(models, pairs, ensembles, rows, digest.hexdigest())


def chosen(purposes: Sequence[str]) -> tuple[list[str], list[str], bool]:
    """Own purposes, origins of imported history, and whether all origins count. Raises `SettingsError`."""
    own, origins, every = [], [], False
    for purpose in purposes:
        word, colon, origin = purpose.partition(":")
        if purpose in OWN:
            own.append(purpose)
        elif purpose == "imported":
            every = True
        elif word == "imported" and colon and origin:
            origins.append(origin)
        else:
            raise SettingsError(
                f"no purpose {purpose!r}: there are {', '.join(sorted(OWN))}, imported and imported:ORIGIN"
            )
    return own, origins, every


def version_weights(versions: Sequence[Any]) -> dict[uuid.UUID, float]:
    """What each version's rows count: a quarter to the power of the later versions of the same model.

    `versions` come by name and age. One that no answer had named yet (`returned` is None) is one with the
    next of the same parameters: the same model, before it was known what its name stood for.
    """
    weights: dict[uuid.UUID, float] = {}
    for _name, group in groupby(versions, key=lambda v: v.name):
        later: set[uuid.UUID] = set()
        stands_for: dict[tuple[str, str], uuid.UUID] = {}
        for version in reversed(list(group)):
            same = (version.provider, version.parameters_digest)
            meant = stands_for.get(same, version.id) if version.returned is None else version.id
            stands_for[same] = meant
            later.add(meant)
            # a version that stands for a later one shares that one's weight
            weights[version.id] = weights.get(meant, OLDER ** (len(later) - 1))
    return weights


def family_of(model: str) -> str:
    """The family of a model that no registry knows: its name up to the first digit or one of - : . _"""
    found = re.match(r"[^0-9:._-]+", model)
    return found[0].lower() if found else model


def _models(rows: list[dict[str, Any]], seats: Any, families: dict[str, str]) -> tuple[list[ModelSums], int]:
    """Sums of answers and of seats together, by kind and model; and how many rows of history were read."""
    given = {(row.kind, row.model): (row.seats, row.failures) for row in seats}
    total = sum(int(row.pop("rows")) for row in rows)
    answered = {(row["kind"], row["model"]): row for row in rows}
    zero = {f.name: 0.0 for f in fields(ModelSums) if f.type == "float"}
    made = []
    for kind, model in sorted(answered.keys() | given.keys()):
        sums = answered.get((kind, model)) or {"kind": kind, "model": model, **zero}
        seated, failed = given.get((kind, model), (0.0, 0.0))
        family = families.get(model) or family_of(model)
        made.append(ModelSums(**{**sums, "family": family, "seats": seated, "failures": failed}))
    return made, total
