"""The stages of a cell: each made once, kept on the shelf, and known by what it is made from."""
