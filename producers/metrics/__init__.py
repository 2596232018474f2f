"""`/metrics` and `/healthz`: what operators' tools ask, from SQL aggregates at the time of asking.

Labels are closed lists (states, reasons, queues, priorities, names in models.toml), so that no id and no
source, whose name may be a hospital's, ever becomes one.
"""
