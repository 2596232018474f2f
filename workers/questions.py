"""What a model is asked: the messages for one owed answer, rendered from the sealed record."""

from __future__ import annotations
