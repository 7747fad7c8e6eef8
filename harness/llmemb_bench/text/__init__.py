"""Stage 1: item texts in, item vectors out."""
