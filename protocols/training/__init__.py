"""Mixed-precision training of networks whose weights are pairs of devices on the array."""
