"""Medication names: a small exact-name table from names as prescribed to ingredient codes."""

from shared.medications.table import generic_name, ingredients, is_unknown

__all__ = ["generic_name", "ingredients", "is_unknown"]
