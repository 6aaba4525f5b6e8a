"""Evaluation of estimators on image pairs, and sigma calibration."""
