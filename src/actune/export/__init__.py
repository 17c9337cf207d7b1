"""Formulas in other languages: a file per target."""
