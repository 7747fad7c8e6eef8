"""Built-in losses; a file's stem is its name in a spec."""
