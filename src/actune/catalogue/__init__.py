"""Families: what a named activation function is, and all that ship."""
