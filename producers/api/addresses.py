"""Whole addresses of our routes, as clients know them."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from producers.api.access import Site


def address(site: Site, request: Request, route: str, **parts: Any) -> str:
    """Of a route by its name: below `api_public_url` where that is set, else as this request came in."""
    url = request.url_for(route, **parts)
    public = site.settings.api_public_url
    return str(url) if public is None else f"{public.rstrip('/')}{url.path}"
