"""Relative pose estimators: two images to a relative pose with covariance."""
