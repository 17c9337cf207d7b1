"""What to try next: the space of formulas, and ways to draw from it."""
