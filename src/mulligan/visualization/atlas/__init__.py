"""Activation atlases: real activations laid out in the plane, each cell drawn (Carter et al. 2019)."""
