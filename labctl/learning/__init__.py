"""Networks that learn on arrays: data sets, networks, edge scores, where layers go on an array, and what they cost.

Knows quantities and errors of labctl and nothing of benches, links or run files; torch and scikit-image are imported
only where they are used (`pip install labctl[learn]`).
"""
