"""Errors of trajectories, consistency of covariances, and the reports about them."""
