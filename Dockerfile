# The workspace on the official ROS image. Built for CPUs:
#   docker build -t iup_pose_ros .
# With CUDA (run with --gpus all; needs the NVIDIA container toolkit on the host):
#   docker build -t iup_pose_ros:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
ARG ROS_DISTRO=jazzy
FROM ros:${ROS_DISTRO}-ros-base

SHELL ["/bin/bash", "-c"]
WORKDIR /ws

# Manifests first: the layers of dependencies are kept while only the code changes.
COPY package.xml src/iup_pose_ros/
COPY msg/package.xml src/iup_pose_ros/msg/
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-venv \
    && rosdep update \
    && rosdep install --from-paths src src/iup_pose_ros/msg --ignore-src -y --dependency-types exec build buildtool \
    && rm -rf /var/lib/apt/lists/*

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY requirements src/iup_pose_ros/requirements
RUN python3 -m venv --system-site-packages .venv && touch .venv/COLCON_IGNORE \
    && .venv/bin/pip install --no-cache-dir --extra-index-url "${TORCH_INDEX}" \
        -r src/iup_pose_ros/requirements/runtime.txt -c src/iup_pose_ros/requirements/constraints.txt

COPY . src/iup_pose_ros
RUN source /opt/ros/${ROS_DISTRO}/setup.bash && source .venv/bin/activate \
    && colcon build --base-paths src src/iup_pose_ros/msg

COPY docker/entrypoint.sh /entrypoint.sh
ENTRYPOINT ["/entrypoint.sh"]
CMD ["ros2", "launch", "iup_pose_ros", "vo.launch.py"]
