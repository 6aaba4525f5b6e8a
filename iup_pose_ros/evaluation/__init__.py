"""Evaluation: trajectory and pair errors, covariance consistency, and reports."""
