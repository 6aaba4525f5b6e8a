"""A camera driver in a process of its own, to be killed: 10 images per second from the given position on."""

from __future__ import annotations

import sys
import time

import rclpy
from moving_texture import view
from node_bench import camera_info, image_message
from sensor_msgs.msg import CameraInfo, Image

if __name__ == "__main__":
    rclpy.init()
    node = rclpy.create_node("camera")
    images = node.create_publisher(Image, "image", 5)
    infos = node.create_publisher(CameraInfo, "camera_info", 5)
    position = float(sys.argv[1])
    while True:
        stamp = time.time_ns()
        infos.publish(camera_info(stamp))
        images.publish(image_message(view(position), stamp))
        position += 0.08
        time.sleep(0.1)
