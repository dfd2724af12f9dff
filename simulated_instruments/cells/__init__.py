"""Device physics of memory cells: vectorised, float32, no I/O but their parameter files."""
