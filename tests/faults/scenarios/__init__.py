"""The scenarios by theme; each registers itself (tests/faults/registry.py)."""
