"""What the tests of the node share: a bench that plays the camera and records what the node publishes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import rclpy
from child_node import wait_until
from geometry_msgs.msg import PoseWithCovarianceStamped, TransformStamped, TwistWithCovarianceStamped
from iup_pose_msgs.msg import RelativePose, TrackingState
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from moving_texture import HEIGHT, WIDTH, K, view
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from rcl_interfaces.srv import SetParameters
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from iup_pose_ros import stamps

CAMERA_FRAME = "camera_optical"
OUTPUTS = {
    "/vo_node/relative_pose": PoseWithCovarianceStamped,
    "/vo_node/keyframe_edge": RelativePose,
    "/vo_node/odometry": Odometry,
    "/vo_node/twist": TwistWithCovarianceStamped,
    "/tf": TFMessage,
}
STATE_TOPIC = "/vo_node/tracking_state"
BLACK: NDArray[np.uint8] = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
# States of the life cycle, and the transitions from each to the next and back.
LIFE_CYCLE = ("unconfigured", "inactive", "active")
UP, DOWN = ("configure", "activate"), ("cleanup", "deactivate")
ATTEMPTS = 3  # of a service call
PERIOD = 50_000_000
START = 1_700_000_000_000_000_000


class Bench:
    """Plays camera and TF, and records what the node publishes, in a domain of its own."""

    def __init__(self, domain_id: int) -> None:
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain_id)
        self.node = rclpy.create_node("bench", context=self._context)
        self._received: dict[str, list[Any]] = {topic: [] for topic in (*OUTPUTS, STATE_TOPIC)}
        self._state_arrivals: list[tuple[int, TrackingState]] = []
        self._changed = threading.Condition()
        self._clients: dict[str, Any] = {}
        self.images = self.node.create_publisher(Image, "/image", 5)
        self.infos = self.node.create_publisher(CameraInfo, "/camera_info", 5)
        latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._static_tf = self.node.create_publisher(TFMessage, "/tf_static", latched)
        for topic, message_type in OUTPUTS.items():
            self._record(topic, message_type, QoSProfile(depth=100))
        self._record(
            STATE_TOPIC, TrackingState, QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        )
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._spinner = threading.Thread(target=self._spin)

    def __enter__(self) -> Bench:
        self._spinner.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        rclpy.shutdown(context=self._context)
        self._spinner.join()

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def received(self, topic: str) -> list[Any]:
        """Messages of a topic so far, oldest first."""
        with self._changed:
            return list(self._received[topic])

    def states(self) -> list[TrackingState]:
        """Tracking states so far, oldest first."""
        return self.received(STATE_TOPIC)

    def state_arrivals(self) -> list[tuple[int, TrackingState]]:
        """Tracking states so far with the time of their arrival, nanoseconds of the wall clock."""
        with self._changed:
            return list(self._state_arrivals)

    def clear(self) -> None:
        """Forgets what was received."""
        with self._changed:
            self._state_arrivals.clear()
            for messages in self._received.values():
                messages.clear()

    def wait_for(self, topic: str, accept: Callable[[Any], bool], timeout: float = 60.0) -> Any:
        """The first message of a topic, already received or still to come, that is accepted."""

        def find() -> Any:
            return next((message for message in self._received[topic] if accept(message)), None)

        with self._changed:
            self._changed.wait_for(lambda: find() is not None, timeout)
            found = find()
            assert found is not None, f"{topic}: none of {self._received[topic][-3:]} is accepted"
            return found

    def wait_for_reason(self, words: str, timeout: float = 60.0) -> TrackingState:
        """The first tracking state whose reason holds these words."""
        return self.wait_for(STATE_TOPIC, lambda state: words in state.reason, timeout)

    def wait_for_node(self, image_topic: str = "/image") -> None:
        """Returns when the node listens to the camera and is heard."""
        self.wait_for_nodes(1, image_topic)

    def wait_for_nodes(self, number: int, image_topic: str = "/image", timeout: float = 60.0) -> None:
        """Returns when so many nodes listen to the camera and are heard."""

        def connected() -> bool:
            subscribed = [
                info.qos_profile.reliability
                for topic in (image_topic, "/camera_info")
                for info in self.node.get_subscriptions_info_by_topic(topic)
            ]
            heard = all(self.node.count_publishers(topic) >= number for topic in OUTPUTS if topic != "/tf")
            return heard and subscribed == [ReliabilityPolicy.RELIABLE] * 2 * number

        wait_until(connected, timeout, lambda: "the node does not listen to image and camera_info")

    def wait_for_publisher(self, topic: str) -> None:
        """Returns when somebody publishes on a topic."""
        wait_until(
            lambda: self.node.count_publishers(topic) > 0, 60.0, lambda: f"nobody publishes on {topic}"
        )

    def mount_camera(self, rotation: Sequence[float], translation: Sequence[float]) -> None:
        """Publishes base_link <- camera_optical: quaternion (x, y, z, w) and metres."""
        transform = TransformStamped(child_frame_id=CAMERA_FRAME)
        transform.header.frame_id = "base_link"
        q, t = transform.transform.rotation, transform.transform.translation
        q.x, q.y, q.z, q.w = (float(value) for value in rotation)
        t.x, t.y, t.z = (float(value) for value in translation)
        self._static_tf.publish(TFMessage(transforms=[transform]))

    def call(
        self, service_type: Any, name: str, request: Any, timeout: float = 60.0, attempts: int = ATTEMPTS
    ) -> Any:
        """The answer of a service of the node; many attempts are for requests that change nothing."""
        if name not in self._clients:
            self._clients[name] = self.node.create_client(service_type, f"/vo_node/{name}")
        client = self._clients[name]
        assert client.wait_for_service(timeout), f"no service {name}"
        answered = threading.Event()
        # DDS may lose what is sent before both ends know each other, or to a node that has just ended.
        for _ in range(attempts):
            future = client.call_async(request)
            future.add_done_callback(lambda _: answered.set())
            if answered.wait(timeout / attempts):
                return future.result()
            client.remove_pending_request(future)
        raise AssertionError(f"no answer of service {name}")

    def change_state(self, *transitions: str, timeout: float = 60.0) -> bool:
        """Whether every transition (configure, activate, deactivate, cleanup) succeeds."""
        return all(
            self.call(ChangeState, "change_state", _transition(label), timeout).success
            for label in transitions
        )

    def life_cycle(self) -> str:
        """State of the life cycle."""
        label: str = self.call(GetState, "get_state", GetState.Request(), attempts=30).current_state.label
        return label

    def bring_to(self, goal: str) -> None:
        """Changes the state of the life cycle to unconfigured, inactive or active, step by step."""
        while (now := LIFE_CYCLE.index(self.life_cycle())) != LIFE_CYCLE.index(goal):
            transition = UP[now] if now < LIFE_CYCLE.index(goal) else DOWN[now - 1]
            assert self.change_state(transition), f"{transition} fails: {self.states()[-1:]}"

    def start_afresh(self) -> None:
        """Makes the node active with nothing counted or remembered, and forgets what was received."""
        self.bring_to("unconfigured")
        self.clear()
        self.bring_to("active")
        self.wait_for_node()

    def set_parameters(self, **values: Any) -> list[Any]:
        """The results of setting parameters."""
        parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        request = SetParameters.Request(parameters=parameters)
        results: list[Any] = self.call(SetParameters, "set_parameters", request).results
        return results

    def record(self, topic: str, message_type: Any, depth: int = 100) -> Any:
        """Begins to record a topic; returns the subscription."""
        with self._changed:
            self._received[topic] = []
        return self._record(topic, message_type, QoSProfile(depth=depth))

    def show(self, image: Any, info: CameraInfo, camera: Any = None, attempts: int = 5) -> TrackingState:
        """Publishes an image with its camera_info and returns what the node says about it.

        Tried again after two seconds of silence: best effort may lose what is sent before both sides matched.
        """
        said = len(self.states())
        stamp = image.header.stamp

        def answer() -> TrackingState | None:
            states = self._received[STATE_TOPIC][said:]
            return next((state for state in states if state.header.stamp == stamp), None)

        for _ in range(attempts):
            self.infos.publish(info)
            (camera or self.images).publish(image)
            with self._changed:
                self._changed.wait_for(lambda: answer() is not None, 2.0)
                if (found := answer()) is not None:
                    return found
        raise AssertionError(f"the node says nothing about the image of {stamp}; last: {self.states()[-1:]}")

    def _record(self, topic: str, message_type: Any, qos: QoSProfile) -> Any:
        def store(message: Any) -> None:
            with self._changed:
                self._received[topic].append(message)
                if topic == STATE_TOPIC:
                    self._state_arrivals.append((time.time_ns(), message))
                self._changed.notify_all()

        return self.node.create_subscription(message_type, topic, store, qos)


class Drive:
    """A camera that moves sideways by 8 cm per image; time and place go on from call to call."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.stamp = START
        self.position = 0.0

    def messages(self, pixels: NDArray[np.uint8] | None = None) -> tuple[Any, Any]:
        """The next image, or the given pixels, and its camera_info."""
        self.stamp += PERIOD
        self.position += 0.08
        shown = view(self.position) if pixels is None else pixels
        return image_message(shown, self.stamp), camera_info(self.stamp)

    def show(self, images: int, pixels: NDArray[np.uint8] | None = None) -> list[TrackingState]:
        """Tracking states of so many images."""
        return [self.bench.show(*self.messages(pixels)) for _ in range(images)]


def image_message(pixels: NDArray[np.uint8], nanoseconds: int) -> Image:
    """rgb8 image (H, W, 3) of a stamp."""
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding="rgb8", step=3 * pixels.shape[1])
    message.header.frame_id = CAMERA_FRAME
    message.data = pixels.tobytes()
    set_stamp(message, nanoseconds)
    return message


def camera_info(nanoseconds: int) -> CameraInfo:
    """Calibration of moving_texture's camera."""
    message = CameraInfo(width=WIDTH, height=HEIGHT, distortion_model="plumb_bob")
    message.header.frame_id = CAMERA_FRAME
    message.k = np.array(K)
    message.d = [0.0] * 5
    set_stamp(message, nanoseconds)
    return message


def stamp_of(message: Any) -> int:
    """Stamp of a message's header, nanoseconds."""
    return stamps.nanoseconds(message.header.stamp)


def set_stamp(message: Any, nanoseconds: int) -> None:
    """Sets the stamp of a message's header."""
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(nanoseconds, 1_000_000_000)


def _transition(label: str) -> Any:
    identifier = getattr(Transition, f"TRANSITION_{label.upper()}")
    return ChangeState.Request(transition=Transition(id=identifier))
