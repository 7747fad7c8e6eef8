"""Built-in transforms; a file's stem is its name in a spec."""
