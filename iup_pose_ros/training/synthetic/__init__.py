"""Rendered training scenes and clusters of their views (OpenGL)."""
