"""The language of formulas: primitives, expressions over them, their exact meaning."""
