import shared.startup  # noqa: F401 - its import is what counts
