"""What analysts ask of runs, one module a question; `labctl.analysis` is where they are imported from."""
