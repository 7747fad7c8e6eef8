"""Ranks in, honest numbers out."""
