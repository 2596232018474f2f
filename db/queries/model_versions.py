"""Model versions: what a name in models.toml stood for, as the answers told."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.engine import Runs
from db.ids import new_id
from shared.registry import Model

# A version seen for the first time names its predecessor: the newest version of the same model.
ENSURE = text("""
    INSERT INTO model_versions
        (id, provider, name, returned, parameters_digest, family, location, simulated, predecessor_id)
    SELECT :id, asked.provider, asked.name, CAST(:returned AS varchar), CAST(:parameters_digest AS varchar),
           CAST(:family AS varchar), CAST(:location AS varchar), CAST(:simulated AS boolean),
           (SELECT v.id FROM model_versions v WHERE v.provider = asked.provider AND v.name = asked.name
            ORDER BY v.first_seen_at DESC LIMIT 1)
    FROM (SELECT CAST(:provider AS varchar) AS provider, CAST(:name AS varchar) AS name) asked
    ON CONFLICT DO NOTHING
""")

FIND = text("""
    SELECT id FROM model_versions
    WHERE provider = :provider AND name = :name AND parameters_digest = :parameters_digest
      AND returned IS NOT DISTINCT FROM CAST(:returned AS varchar)
""")

# The versions that seats are given to: of each configuration the newest that it has answered with.
CURRENT = text("""
    SELECT DISTINCT ON (a.provider, a.name, a.digest) a.name, v.id
    FROM unnest(CAST(:providers AS text[]), CAST(:names AS text[]), CAST(:digests AS text[]))
         AS a (provider, name, digest)
    JOIN model_versions v
      ON v.provider = a.provider AND v.name = a.name AND v.parameters_digest = a.digest
    ORDER BY a.provider, a.name, a.digest, v.first_seen_at DESC, v.returned NULLS LAST
""")


PREDECESSORS = text("SELECT id, predecessor_id FROM model_versions WHERE predecessor_id IS NOT NULL")


def predecessors(session: Session) -> dict[uuid.UUID, uuid.UUID]:
    """Version → the version of the same model that it replaced."""
    return {row.id: row.predecessor_id for row in session.execute(PREDECESSORS)}


def ensure_version(session: Runs, model: Model, returned: str | None = None) -> uuid.UUID:
    """The id of the version that this configuration answered with as `returned`, made if it is new."""
    values = {
        "provider": model.provider,
        "name": model.name,
        "returned": returned,
        "parameters_digest": model.parameters_digest,
    }
    found = session.execute(FIND, values).scalar_one_or_none()
    if found is None:
        session.execute(
            ENSURE,
            {
                **values,
                "id": new_id(),
                "family": model.family,
                "location": model.location,
                "simulated": model.simulated,
            },
        )
        found = session.execute(FIND, values).scalar_one()
    return uuid.UUID(str(found))


def versions_for_seats(session: Session, models: Iterable[Model]) -> dict[str, uuid.UUID]:
    """By name, the version a seat is given to: the newest known of this configuration, else one not yet named
    by any answer, made here.

    Made in the order of their names: two that make them at once do not lock each other out.
    """
    asked = sorted(models, key=lambda model: model.name)
    given = {
        "providers": [model.provider for model in asked],
        "names": [model.name for model in asked],
        "digests": [model.parameters_digest for model in asked],
    }
    known = {row.name: row.id for row in session.execute(CURRENT, given)}
    for model in asked:
        if model.name not in known:
            known[model.name] = ensure_version(session, model)
    return known


def version_for_seat(session: Session, model: Model) -> uuid.UUID:
    """The version that a seat of this model is given to."""
    return versions_for_seats(session, [model])[model.name]
