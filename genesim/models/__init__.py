"""Generative models: arrays in, arrays out. They never see a path, a config file or an AnnData."""
