"""Stage 2: training a recommender on histories (RAT)."""
