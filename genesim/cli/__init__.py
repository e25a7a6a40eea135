"""The command line: one small file per verb, no science in them."""
