"""Run times of the node in its own process: start to subscriptions, and image to pose."""

from __future__ import annotations

import math
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from sensor_msgs.msg import CameraInfo, Image

from iup_pose_ros.bags.messages import CameraCalibration
from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.bags.writer import write_camera_bag
from iup_pose_ros.benchmark.flight_views import RATE
from iup_pose_ros.benchmark.stages import Repeats, conditions_of
from iup_pose_ros.benchmark.timing import Conditions, Measurement, Samples
from iup_pose_ros.errors import DataError
from iup_pose_ros.estimators.network.options import NetworkOptions
from iup_pose_ros.estimators.registry import create_estimator
from iup_pose_ros.node.params_file import NODE_NAME
from iup_pose_ros.node.settings import NodeConfig
from iup_pose_ros.replay.live import run_live, wait_for_topics
from iup_pose_ros.replay.node_process import NodeProcess, Parameter, isolated_environment
from iup_pose_ros.replay.player import Player
from iup_pose_ros.replay.ros_session import ros_session
from iup_pose_ros.types import Frame

_FIRST_STAMP = 1_700_000_000_000_000_000  # nanoseconds
_STARTS = 3
# So weak that the images fit, but they are undistorted like those of any real camera.
_DISTORTION = (-1e-5, 0.0, 0.0, 0.0, 0.0)


def node_runs(
    names: Sequence[str], views: Sequence[Frame], options: NetworkOptions, repeats: Repeats
) -> Iterator[Measurement]:
    """Measure the node with several estimators, its start and its answers to images.

    Args:
        names: estimators of the node.
        views: successive images.
        options: weights and device of the network.
        repeats: numbers of images.

    Raises:
        DataError: no image was answered.
        NodeProcessError: the node does not start, or exits unexpectedly.
    """
    camera = views[0].intrinsics
    # The node chooses its number of threads.
    conditions = Conditions(camera.width, camera.height, options.device, threads=0)
    with tempfile.TemporaryDirectory(prefix="iup_pose_bench_") as folder:
        bag, log = Path(folder) / "bag", Path(folder) / "node.log"
        with write_camera_bag(bag, CameraCalibration(camera, _DISTORTION), start=_FIRST_STAMP) as writer:
            for number, view in enumerate(views):
                writer.write_image(_FIRST_STAMP + round(number * 1e9 / RATE), view.image)
        for name in names:
            used = conditions_of(create_estimator(name, options).info, conditions)
            times, cpu_times, megabytes = zip(
                *(_start(name, options, log) for _ in range(_STARTS)), strict=True
            )
            start = Samples(times, cpu_times, max(megabytes))
            timed = "start of the process until its subscriptions are matched"
            yield Measurement("node", f"start, {name}", timed, used, start)
            cpu = _children_cpu()
            config = NodeConfig(weights=str(options.weights or ""), device=options.device)
            with BagReader(bag) as reader:
                run = run_live(reader, name, lambda: None, rate=0.0, log=log, config=config)
            cpu = max(0.0, _children_cpu() - cpu - min(cpu_times)) / len(views)
            latencies = [1e3 * frame.latency for frame in run.frames[repeats.warm_up :]]
            if not latencies:
                raise DataError(f"the node with estimator {name} answered none of {len(views)} images")
            samples = Samples(latencies, [cpu], math.nan)
            timed = "publishing a raw image until its tracking state, which follows its pose, arrives"
            yield Measurement("node", name, timed, used, samples)


def _start(name: str, options: NetworkOptions, log: Path) -> tuple[float, float, float]:
    """Start and stop the node.

    Returns:
        Milliseconds to its subscriptions, CPU milliseconds of its whole life, maximum resident megabytes.
    """
    parameters: dict[str, Parameter] = {
        "estimator": name,
        "weights": str(options.weights or ""),
        "device": options.device,
        "assume_identity_mount": True,
    }
    # A random domain for each node, so that none finds the topics of the one before.
    environment, cpu = isolated_environment(), _children_cpu()
    with ros_session("iup_pose_bench", environment) as node:
        types = {"/image": Image, "/camera_info": CameraInfo}
        player = Player(node, types, types)
        begin = time.perf_counter()
        with NodeProcess(parameters, {"__node": NODE_NAME}, environment, log) as process:
            wait_for_topics(lambda: player.is_heard, process)
            milliseconds = 1e3 * (time.perf_counter() - begin)
            megabytes = process.peak_resident_megabytes
            process.stop()
    return milliseconds, _children_cpu() - cpu, megabytes


def _children_cpu() -> float:
    """Return the CPU time of the ended child processes, milliseconds."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1e3 * (usage.ru_utime + usage.ru_stime)
