"""A YAML spec in, checked cells out."""
