"""Submissions come in: streamed, stored chunk by chunk, acknowledged when all is stored."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter()
