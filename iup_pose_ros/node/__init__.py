"""The ROS 2 adapter of the visual odometry: the only part of the package, with replay, that imports ROS."""
