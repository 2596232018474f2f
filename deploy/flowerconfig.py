"""Flower's settings in a deployment. It looks; it must not be a way to act, nor to look without a password.

`read_only` refuses every route that changes something (403). /metrics answers without credentials, whatever
is set (Consilium has its own, with a token), so its route is covered.
"""

import os
from pathlib import Path

from flower.urls import handlers
from flower.views.error import NotFoundErrorHandler

basic_auth = [Path(os.environ["CONSILIUM_SECRETS_DIR"], "flower_auth").read_text(encoding="utf-8").strip()]
read_only = True
enable_events = False  # would ask all workers again and again to turn on what they have on
max_tasks = 10_000  # 2 kB each
purge_offline_workers = 3600

handlers.insert(0, (r"/metrics", NotFoundErrorHandler))
