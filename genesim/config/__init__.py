"""Frozen pydantic records of everything a user may set. No file is read outside `base`."""
