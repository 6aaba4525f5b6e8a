"""Pure geometry: rotations, cameras, poses with covariance. No I/O, no ROS."""
