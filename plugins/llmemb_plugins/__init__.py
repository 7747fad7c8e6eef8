"""The built-in plugins: one folder per kind, one file per plugin."""
