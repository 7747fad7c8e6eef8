"""Built-in methods; a file's stem is its name in a spec."""
