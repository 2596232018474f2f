"""The fault suite: `python -m tests.faults` breaks things under the real pipeline and checks the books."""
