"""Built-in augmentations; a file's stem is its name in a spec."""
