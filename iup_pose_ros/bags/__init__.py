"""Reading and writing of recordings without ROS: rosbag2, image folders, trajectory files."""
