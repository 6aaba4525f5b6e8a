"""Keeps transforms between frames and answers for any pair of frames and any covered time."""

from __future__ import annotations

import math
import threading
import time as wall_clock

import rclpy.logging
from geometry_msgs.msg import TransformStamped
from rclpy.clock import JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time

from .exceptions import (
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    TransformException,
)
from .samples import RigidTransform, Samples

DEFAULT_CACHE_TIME = Duration(seconds=10)
NO_WAITING = Duration()
NANOSECONDS_PER_SECOND = 1_000_000_000


def reason_to_refuse(transform: TransformStamped) -> str | None:
    """Why a transform must not enter the buffer; None when it may."""
    q, t = transform.transform.rotation, transform.transform.translation
    if not transform.header.frame_id or not transform.child_frame_id:
        return "a frame name is empty"
    if transform.header.frame_id == transform.child_frame_id:
        return "frame and child frame are the same"
    if not all(math.isfinite(value) for value in (t.x, t.y, t.z, q.x, q.y, q.z, q.w)):
        return "a value is not finite"
    if q.x == q.y == q.z == q.w == 0.0:
        return "the quaternion is zero"
    return None


def seconds(nanoseconds: int) -> str:
    """A stamp as decimal seconds, exactly."""
    return f"{nanoseconds // NANOSECONDS_PER_SECOND}.{nanoseconds % NANOSECONDS_PER_SECOND:09d}"


def check_frame_name(name: str, argument: str) -> None:
    if not name:
        raise InvalidArgumentException(f"{argument} is empty")
    if name.startswith("/"):
        raise InvalidArgumentException(f'{argument} "{name}" starts with a slash, which tf2 frames do not')


class Buffer:
    """Transforms of the last `cache_time`; with `node`, a jump back of its clock empties the buffer.

    A child frame has one parent: a transform from another parent replaces the earlier ones.
    """

    def __init__(self, cache_time: Duration | None = None, node: Node | None = None) -> None:
        self._cache_time = (cache_time or DEFAULT_CACHE_TIME).nanoseconds
        self._frames: dict[str, Samples] = {}  # by child frame
        self._changed = threading.Condition()
        if node is not None:
            threshold = JumpThreshold(
                min_forward=None, min_backward=Duration(seconds=-1), on_clock_change=True
            )
            self._jump_handle = node.get_clock().create_jump_callback(threshold, post_callback=self._on_jump)

    def _on_jump(self, _: TimeJump) -> None:
        rclpy.logging.get_logger("tf2_buffer").warning("Time jumped back: the transforms are forgotten.")
        self.clear()

    def clear(self) -> None:
        """Forgets everything but static transforms."""
        with self._changed:
            self._frames = {name: samples for name, samples in self._frames.items() if samples.static}

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Adds a sample of a moving transform."""
        self._insert(transform, authority, static=False)

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Adds a transform that holds for all times."""
        self._insert(transform, authority, static=True)

    def _insert(self, transform: TransformStamped, authority: str, static: bool) -> None:
        reason = reason_to_refuse(transform)
        parent = transform.header.frame_id.removeprefix("/")
        child = transform.child_frame_id.removeprefix("/")
        if reason is not None:
            logger = rclpy.logging.get_logger("tf2_buffer")
            logger.error(f'Transform "{parent}" <- "{child}" from {authority} is ignored: {reason}.')
            return
        stamp = Time.from_msg(transform.header.stamp).nanoseconds
        with self._changed:
            samples = self._frames.get(child)
            if samples is None or samples.parent != parent or samples.static != static:
                samples = self._frames[child] = Samples(parent, static)
            samples.insert(stamp, RigidTransform.from_msg(transform.transform), self._cache_time)
            self._changed.notify_all()

    def lookup_transform(
        self, target_frame: str, source_frame: str, time: Time, timeout: Duration = NO_WAITING
    ) -> TransformStamped:
        """T_target_source at a time; time zero means the newest time that all transforms on the way have.

        Waits up to `timeout` for it, so another thread has to receive transforms meanwhile. Raises
        LookupException, ConnectivityException, ExtrapolationException or InvalidArgumentException.
        """
        self.can_transform(target_frame, source_frame, time, timeout)
        return self.lookup_transform_core(target_frame, source_frame, time)

    def can_transform(
        self,
        target_frame: str,
        source_frame: str,
        time: Time,
        timeout: Duration = NO_WAITING,
        return_debug_tuple: bool = False,
    ) -> bool | tuple[bool, str]:
        """Whether lookup_transform would succeed; with return_debug_tuple also the reason why not."""
        deadline = wall_clock.monotonic() + timeout.nanoseconds / NANOSECONDS_PER_SECOND
        with self._changed:
            possible, reason = self.can_transform_core(target_frame, source_frame, time)
            while not possible and (left := deadline - wall_clock.monotonic()) > 0:
                self._changed.wait(left)
                possible, reason = self.can_transform_core(target_frame, source_frame, time)
        return (possible, reason) if return_debug_tuple else possible

    def can_transform_core(self, target_frame: str, source_frame: str, time: Time) -> tuple[bool, str]:
        """Whether the transform is there now, and if not, why."""
        try:
            self.lookup_transform_core(target_frame, source_frame, time)
        except TransformException as error:
            return False, str(error)
        return True, ""

    def lookup_transform_core(self, target_frame: str, source_frame: str, time: Time) -> TransformStamped:
        """lookup_transform without waiting."""
        check_frame_name(target_frame, "target_frame")
        check_frame_name(source_frame, "source_frame")
        with self._changed:
            upwards, downwards = self._edges_between(source_frame, target_frame)
            stamp = time.nanoseconds or self._newest_common_stamp(upwards + downwards)
            source = self._chain(upwards, stamp)
            target = self._chain(downwards, stamp)
        result = TransformStamped()
        result.header.stamp = Time(nanoseconds=stamp).to_msg()
        result.header.frame_id = target_frame
        result.child_frame_id = source_frame
        result.transform = (target.inverse() @ source).to_msg()
        return result

    def _edges_between(self, source: str, target: str) -> tuple[list[str], list[str]]:
        """Child frames of the transforms from each frame up to the first frame that is above both."""
        if source == target:
            return [], []
        source_path, target_path = self._path_to_root(source), self._path_to_root(target)
        common = next((frame for frame in source_path if frame in target_path), None)
        if common is None:
            raise ConnectivityException(f'no transforms connect "{target}" and "{source}"')
        return source_path[: source_path.index(common)], target_path[: target_path.index(common)]

    def _path_to_root(self, frame: str) -> list[str]:
        known = frame in self._frames or any(samples.parent == frame for samples in self._frames.values())
        if not known:
            raise LookupException(f'frame "{frame}" does not exist')
        path = [frame]
        while path[-1] in self._frames:
            parent = self._frames[path[-1]].parent
            if parent in path:
                raise LookupException(f"the transforms form a loop: {' <- '.join([*path, parent])}")
            path.append(parent)
        return path

    def _newest_common_stamp(self, children: list[str]) -> int:
        samples = [self._frames[child] for child in children]
        return min((moving.stamps[-1] for moving in samples if not moving.static), default=0)

    def _chain(self, children: list[str], stamp: int) -> RigidTransform:
        """Product of the transforms from the first child frame up to the parent of the last."""
        product = RigidTransform.identity()
        for child in children:
            samples = self._frames[child]
            if not samples.covers(stamp):
                first, last = seconds(samples.stamps[0]), seconds(samples.stamps[-1])
                raise ExtrapolationException(
                    f'"{samples.parent}" <- "{child}" is known from {first} s to {last} s, '
                    f"{seconds(stamp)} s was asked for"
                )
            product = samples.at(stamp) @ product
        return product
