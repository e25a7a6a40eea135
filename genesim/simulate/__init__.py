"""A scenario played out: population -> genotypes -> effects -> cells, with the truth beside them."""
