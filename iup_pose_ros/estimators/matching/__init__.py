"""Matches of two frames: corners, optical flow and descriptors."""
