"""A process's start: what it imports stays; not to look for garbage in it meanwhile saves a tenth.

Packages that have processes begin with this import; a process that lives long says when its start is over.
"""

import gc

_USUAL = gc.get_threshold()
gc.set_threshold(50_000)


def over() -> None:
    """From now on garbage is looked for as usual, but never again among what is there by now."""
    gc.freeze()
    gc.set_threshold(*_USUAL)
