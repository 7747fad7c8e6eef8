"""Comparison tables from the store."""
