"""What several test files use: small worlds, models and splits, run folders, a server, processes."""
