"""The Mittag-Leffler function and its derivatives."""
