"""What flows between the steps: texts, histories, splits, item vectors."""
