"""Chips: cells and the periphery around them."""
