"""Built-in backbones; a file's stem is its name in a spec."""
