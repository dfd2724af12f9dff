"""Training on devices that change in coarse steps: accumulated updates, models of devices, and what to compare with."""
