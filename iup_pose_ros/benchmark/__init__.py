"""Run times of network, estimators, odometry and node: `iup-pose bench`."""
