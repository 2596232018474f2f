"""Tokens for clients that sign their requests (SMART Backend Services)."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter()
