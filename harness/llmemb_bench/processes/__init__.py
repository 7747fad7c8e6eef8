"""One process or several: who shares the work, what is kept of it, how a large model is spread."""
