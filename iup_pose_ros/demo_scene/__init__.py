"""Rendering of scenes of textured rectangles with exact depth and poses, in torch (without OpenGL)."""
