"""Synthetic training data: scenes and clusters of overlapping views, rendered with OpenGL."""
