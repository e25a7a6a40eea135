"""Generators of single-cell counts: the NB-VAE with a latent flow, and the baselines beside it."""
