"""Networks as functions of a factory of activations."""
