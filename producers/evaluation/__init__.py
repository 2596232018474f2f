"""Evaluations: given vignettes with gold, several ways to answer them, measured and compared.

spec ─► run (arms as submissions of purpose evaluation) ─► measured (a row a consultation) ─► reports
"""
