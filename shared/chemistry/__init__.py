"""LLM chemistry: how well models work together, learned from stored history (arXiv 2510.03930).

history ─► aggregates ─► model means, cost-based pairs (pairs, reference, default) ─► snapshot
                      └► empirical pair effects (effects) ─────────────────────────┘
snapshot ─► who sits (shared.choosing)
"""
