"""Protocols that measure what the cells of a chip are like: one module a kind of measurement."""
