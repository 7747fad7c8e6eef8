"""What every other room builds on: errors, ids, seeds, files, progress. Knows nothing of recommenders."""
