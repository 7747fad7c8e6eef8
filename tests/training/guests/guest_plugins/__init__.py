"""Two methods of a third party."""
