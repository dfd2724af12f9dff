"""Bench file to live instruments and arrays: settings, limits, leases, safe state, clock."""
