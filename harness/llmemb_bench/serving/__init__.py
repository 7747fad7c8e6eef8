"""Finished runs put to use: recommendations to look at, vectors and lists for other systems."""
