"""Where a study lives, and what becomes of the search when that fails for a while."""
