"""Medication orders as written → ingredients with their RxNorm ids, strength, form, route, frequency."""

from shared.medications.order import Order, normalise
from shared.medications.table import generic_name, ingredients, is_unknown

__all__ = ["Order", "generic_name", "ingredients", "is_unknown", "normalise"]
