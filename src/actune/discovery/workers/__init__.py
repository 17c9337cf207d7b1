"""Who runs the trials: this process, others, or Ray."""
