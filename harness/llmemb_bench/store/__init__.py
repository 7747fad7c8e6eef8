"""What a run leaves behind: a folder each, and one database over them."""
