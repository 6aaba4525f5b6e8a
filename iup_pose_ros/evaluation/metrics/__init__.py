"""Trajectory errors, pair errors and covariance consistency. No I/O."""
