"""Kernels for GPUs in Triton, whose source is written from the table of primitives."""
