"""Where an artefact comes from, whether it is whole, and that it is synthetic."""
