"""Point matches between two frames."""
