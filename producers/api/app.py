"""The application: its routes, its errors, its description."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware

from producers.api import (
    chemistry,
    consultations,
    healthz,
    outcomes,
    outputs,
    problems,
    records,
    status,
    submissions,
    tokens,
)
from producers.api.access import Site
from producers.api.description import describe
from producers.api.guard import Guard

DESCRIPTION = """\
Submit clinical vignettes in bulk; get medication recommendations by a council of language models, prepared
for a clinician's review.
"""


def create_app(site: Site) -> FastAPI:
    """The door of a site."""
    app = FastAPI(
        title="Consilium",
        version="1",
        description=DESCRIPTION,
        openapi_url="/v1/openapi.json",
        docs_url=None,  # its page would fetch scripts from elsewhere
        redoc_url=None,
        responses=problems.documented(429, 503),
    )
    app.state.site = site
    problems.install(app)
    app.add_middleware(GZipMiddleware, compresslevel=5)  # streams page by page, large ones in a thread
    app.add_middleware(Guard)  # the last that is added is the outermost
    for each in (submissions, status, outputs, consultations, outcomes, records, chemistry, tokens):
        app.include_router(each.router, prefix="/v1")
    app.include_router(healthz.router)
    describe(app)
    return app
