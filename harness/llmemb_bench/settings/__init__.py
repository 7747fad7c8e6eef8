"""Settings of the steps: pydantic only."""
