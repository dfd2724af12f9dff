"""Firmware: what an instrument does with a message."""
