"""Small neural blocks; every random draw inside them is keyed by row."""
