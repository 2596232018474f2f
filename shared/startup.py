"""A process's start: what is imported stays, so garbage is hardly looked for meanwhile (a tenth of the start).

The packages that have processes begin with this import; whoever goes on for long says when its start is over.
"""

import gc

_USUAL = gc.get_threshold()
gc.set_threshold(50_000)


def over() -> None:
    """From now on garbage is looked for as usual, but never again among what is there by now."""
    gc.freeze()
    gc.set_threshold(*_USUAL)
