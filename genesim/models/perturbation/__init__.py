"""Closed-form predictions of perturbation effects, their stack, and counts made from control cells."""
