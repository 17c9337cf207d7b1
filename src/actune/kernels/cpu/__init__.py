"""Formulas as vector code for the CPU: compiled by LLVM, or interpreted from operators that are."""
