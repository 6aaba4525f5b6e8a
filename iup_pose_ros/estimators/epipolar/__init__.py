"""Relative pose from matches by epipolar geometry, with its covariance."""
