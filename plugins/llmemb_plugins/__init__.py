"""The built-in plugins: one folder a kind, one file a plugin."""
