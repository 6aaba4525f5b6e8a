"""Geometry: rotations, cameras, poses with covariance, trajectories. No I/O, no ROS."""
