"""Recordings in and out without ROS: rosbag2 bags, image folders, trajectory files."""
