"""`consilium sources`: who sends, and who may read their patients."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import ValidationError
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from db.ids import new_id
from db.tables import Audit, Source
from producers.cli.common import Format, database, emit, out
from shared.errors import SettingsError
from shared.policy import Policy

app = typer.Typer(help="Sources: who sends, and which models may read their patients.", no_args_is_help=True)


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="A short name, unique on this site.")],
    allow: Annotated[
        list[str] | None,
        typer.Option(help="local, simulated, remote; repeat for several. Default: local and simulated."),
    ] = None,
    deny: Annotated[list[str] | None, typer.Option(help="A model that may not; repeat for several.")] = None,
) -> None:
    """Add a source. Nothing leaves the house unless its policy says so."""
    words: dict[str, list[str]] = {"allow": allow or [], "deny": deny or []}
    try:
        policy = Policy.model_validate({name: given for name, given in words.items() if given})
    except ValidationError:
        raise SettingsError("--allow is one of local, simulated, remote") from None
    try:
        with database() as session:
            source_id = new_id()
            session.execute(
                insert(Source).values(id=source_id, name=name, policy=policy.model_dump(mode="json"))
            )
            session.execute(
                insert(Audit).values(source_id=source_id, who="cli", what="source.add", which=str(source_id))
            )
    except IntegrityError:
        raise SettingsError(f"there is a source named {name!r} already") from None
    out.print(f"source {name}: {', '.join(sorted(policy.allow))} models may read its patients")


@app.command("list")
def list_(format_: Annotated[Format, typer.Option("--format")] = Format.table) -> None:
    """All sources with their policies."""
    with database() as session:
        found = session.execute(select(Source).order_by(Source.name)).scalars().all()
    rows = [
        {
            "name": s.name,
            **Policy.model_validate(s.policy).model_dump(),
            "since": f"{s.created_at:%Y-%m-%d %H:%M}Z",
        }
        for s in found
    ]
    emit(rows, format_)
