"""The stages of a cell: each made once, cached, and identified by what it is made from."""
