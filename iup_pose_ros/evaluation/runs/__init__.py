"""One run of the visual odometry and its figures. No I/O."""
