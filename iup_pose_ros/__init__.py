"""Visual odometry for ROS 2 with a learned relative-pose network."""
