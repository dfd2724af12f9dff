"""To and from other people's files: measurements into run files, chips and runs into simulators' device models."""
