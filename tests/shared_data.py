"""The public data that some tests measure on, where it is there: it is no part of the project."""

from __future__ import annotations

import os
from pathlib import Path

SHARED_DATA = Path(os.environ.get("CONSILIUM_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
NOT_HERE = f"{SHARED_DATA} is not here: set CONSILIUM_SHARED_DATA to the folder with fhir/ and histories/"
