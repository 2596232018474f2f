"""Prompts: each template with its schema is stored once, before anything that was asked with it."""

from __future__ import annotations

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.tables import Prompt as Row
from shared.prompts import Prompt


def ensure_prompt(session: Session, prompt: Prompt) -> str:
    """The prompt's id (the digest of its content); its row is made if it is new, whoever else makes it."""
    values = {
        "id": prompt.id,
        "kind": prompt.kind,
        "name": prompt.name,
        "template": prompt.template,
        "output_schema": prompt.schema,
    }
    session.execute(insert(Row).values(values).on_conflict_do_nothing())
    return prompt.id
