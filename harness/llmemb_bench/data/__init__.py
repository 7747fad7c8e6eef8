"""Raw files in, histories and splits out."""
