"""Functions from tables of polynomials."""
