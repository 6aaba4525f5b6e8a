"""Rendering of rooms made of textured rectangles, with exact depth and poses, in torch (no OpenGL)."""
