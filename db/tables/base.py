"""The declarative base, the naming rule of constraints, and the column types that recur.

No module of tables postpones annotations: SQLAlchemy would evaluate hundreds of strings at every start.
"""

import uuid
from datetime import datetime
from typing import Annotated, Any

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    DateTime,
    ForeignKeyConstraint,
    MetaData,
    String,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column

from db.ids import new_id

Id = Annotated[uuid.UUID, mapped_column(primary_key=True, default=new_id)]
SourceId = Annotated[uuid.UUID, mapped_column(primary_key=True)]
"""The source's id as the second half of a primary key: every reference to a row names its source too."""
Moment = Annotated[datetime, mapped_column(DateTime(timezone=True))]
Now = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]
Slug = Annotated[str, mapped_column(String(60))]
Codes = Annotated[list[str], mapped_column(ARRAY(Text), server_default=text("'{}'"))]
Json = Annotated[dict[str, Any], mapped_column(JSONB)]


class Base(DeclarativeBase):
    """Base of all tables."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "ix": "ix_%(table_name)s__%(column_0_N_name)s",
            "uq": "uq_%(table_name)s__%(column_0_N_name)s",
            "ck": "ck_%(table_name)s__%(constraint_name)s",
            "fk": "fk_%(table_name)s__%(column_0_N_name)s",
        }
    )


def one_of(column: str, *values: str) -> CheckConstraint:
    """The column holds one of these words."""
    return CheckConstraint(f"{column} IN ({', '.join(repr(v) for v in values)})", name=column)


def belongs_to(table: str, column: str, *, use_alter: bool = False) -> ForeignKeyConstraint:
    """A composite reference: the row named by `column`, of the same source."""
    return ForeignKeyConstraint(
        [column, "source_id"], [f"{table}.id", f"{table}.source_id"], use_alter=use_alter
    )
