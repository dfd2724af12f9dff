"""Pruning a random resistive memory network on its array: edges are chosen, conductances are as forming left them.

The published system: arXiv 2311.07164.
"""
