"""Placeholder that the observability helper replaces."""

import time

print("metrics on", flush=True)
while True:
    time.sleep(3600)
