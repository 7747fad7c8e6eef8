"""Built-in encoders; a file's stem is its name in a spec."""
