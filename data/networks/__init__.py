"""Ternary networks that ship with labctl."""
