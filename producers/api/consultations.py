"""Single consultations with their trace, and what turned out to be right."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter()
