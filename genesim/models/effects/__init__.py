"""Sums of single cis effects (SuSiE), their baselines, units and donor-level responses."""
