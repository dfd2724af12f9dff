"""From recorded runs to numbers and pictures; works from run files alone."""
