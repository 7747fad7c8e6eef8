"""Built-in objectives; a file's stem is its name in a spec."""
