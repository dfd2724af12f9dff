"""Runs as tables of decoded columns, and the files of other programs that hold them."""
