"""What every room stands on: errors, ids, seeds, files, progress. Knows nothing of recommenders."""
