"""Errors of trajectories and pairs, and consistency of covariances. No I/O."""
