"""Protocols of associative arrays: characterisation, position verify, arithmetic, inference."""
