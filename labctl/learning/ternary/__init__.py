"""Networks of ternary weights and whole-number activations, which associative arrays compute exactly."""
