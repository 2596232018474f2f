"""The application: its routes, its errors, its description."""

from __future__ import annotations

from fastapi import FastAPI

from producers.api import chemistry, consultations, problems, records, status, submissions, tokens
from producers.api.access import Site

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
    )
    app.state.site = site
    problems.install(app)
    for each in (submissions, status, consultations, records, chemistry, tokens):
        app.include_router(each.router, prefix="/v1")
    return app
