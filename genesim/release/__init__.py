"""The papers of a released simulation: what they say, who approved them, and the check of the whole."""
