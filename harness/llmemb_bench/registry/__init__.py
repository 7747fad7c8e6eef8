"""Kinds of plugins, how they are found and chosen, and the settings that choose them."""
