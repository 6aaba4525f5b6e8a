"""Runs recordings through the visual odometry, over DDS and offline, and the demo."""
