"""Built-in metrics; a file's stem is its name in a spec."""
