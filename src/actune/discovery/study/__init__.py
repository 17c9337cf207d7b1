"""The Optuna study: the only state of a search."""
