"""Ternary layers to programs of an associative array. Pure: nothing here touches hardware, and nothing is fitted."""
