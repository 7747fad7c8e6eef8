"""Built-in datasets; a file's stem is its name in a spec."""
