"""Evaluation of estimators on image pairs, and calibration of their sigmas."""
