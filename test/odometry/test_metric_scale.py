"""Lengths in metres by depth images, a range sensor and the camera's height, on points in two cameras."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from metric_scenes import FORWARD, HEIGHT, MOUNT, Depths, Surface, errors, ground, room, run, source_of, wall
from numpy.typing import NDArray
from odometry_scenes import pose, relative_pose

from iup_pose_ros.errors import ConfigurationError, EstimationError
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.odometry import MetricSensors, OdometryConfig
from iup_pose_ros.odometry.metric_scale import MetricScale, scale_source
from iup_pose_ros.odometry.scaled_step import Interval
from iup_pose_ros.odometry.scene_sensors import RangeReading


@pytest.mark.parametrize(("name", "shape"), [("depth", room), ("range", room), ("camera_height", ground)])
def test_lengths_are_metres_and_their_deviation_is_honest(name, shape):
    relative_errors, normalised = [], []
    rng = np.random.default_rng(3)
    for seed in range(10):
        surface = Surface(shape, seed=seed)
        steps = run(source_of(name, surface, FORWARD), surface, FORWARD, rng)
        assert all(step.metric for step in steps)
        assert np.mean([step.source == name for step in steps]) > 0.7
        error, ratio = errors(steps, FORWARD)
        relative_errors.append(error)
        normalised.append(ratio)
    print(name, np.mean(relative_errors), np.std(relative_errors), np.std(normalised))
    assert abs(np.mean(relative_errors)) < 0.02
    assert np.mean(np.abs(normalised) < 3.0) >= 0.95
    # Not so cautious that the deviation is useless.
    assert np.std(normalised) > 0.2


def test_without_a_first_length_no_step_is_scaled():
    surface = Surface(room)
    depths = Depths(surface, FORWARD)
    depths.failure = "no depth image received"
    source = scale_source(OdometryConfig(scale_source="depth"), MetricSensors(depth=depths))
    with pytest.raises(EstimationError, match="no depth image received"):
        run(source, surface, FORWARD)


def test_a_lost_sensor_ends_metric_after_the_timeout_and_the_scale_is_carried_on():
    path = [pose(z=0.06 * k) for k in range(14)]
    surface = Surface(room)
    depths = Depths(surface, path)
    config = OdometryConfig(scale_source="depth", scale_timeout=3.0)
    source = scale_source(config, MetricSensors(depth=depths))
    steps, warnings = [], []
    for index, (before, after) in enumerate(itertools.pairwise(path)):
        depths.failure = "the cable is loose" if 4 <= index < 11 else ""
        relative = relative_pose(before.inverse() @ after, 1e-5, 1e-5)
        steps.append(source.step(relative, surface.rays(before, after), Interval(index, index + 1.0)))
        warnings.append(source.warning)
    assert [step.metric for step in steps] == [True] * 7 + [False] * 4 + [True] * 2
    assert {step.source for step in steps[4:11]} == {"depth (carried on)"}
    assert warnings[6] == ""
    assert warnings[11] == ""
    assert warnings[8] == ("no length in metres was measured for 5.0 s, scale carried on: the cable is loose")
    sigmas = [np.sqrt(step.camera.covariance[2, 2]) for step in steps]
    assert np.all(np.diff(sigmas[4:11]) > 0.0)
    assert sigmas[11] < sigmas[10]
    error, ratio = errors(steps, path)
    assert np.all(np.abs(error) < 0.1)
    assert np.all(np.abs(ratio) < 3.5)


def test_without_shared_tracks_the_depth_image_alone_gives_the_length():
    surface = Surface(room, count=600)
    path = [pose(), pose(z=0.1), pose(z=0.4)]
    source = scale_source(OdometryConfig(scale_source="depth"), MetricSensors(depth=Depths(surface, path)))
    for index, (first, last) in enumerate([(0, 300), (300, 600)]):
        rays = surface.rays(path[index], path[index + 1], first, last)
        relative = relative_pose(path[index].inverse() @ path[index + 1])
        step = source.step(relative, rays, Interval(index, index + 1.0))
    assert (step.source, step.metric) == ("depth", True)
    assert np.linalg.norm(step.camera.pose.translation) == pytest.approx(0.3, rel=0.05)


def nothing(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.full_like(values, np.nan)


def saturated(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.full_like(values, np.inf)


def shuffled(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Another part of the scene in every block of 40 pixels, as of another camera."""
    blocks = [values[r : r + 40, c : c + 40] for r in range(0, 240, 40) for c in range(0, 320, 40)]
    order = np.random.default_rng(5).permutation(len(blocks))
    scale = np.random.default_rng(6).uniform(0.3, 3.0, len(blocks))
    return np.vstack(
        [np.hstack([scale[k] * blocks[k] for k in order[row * 8 : row * 8 + 8]]) for row in range(6)]
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (nothing, r"only 0 of \d+ tracks have a depth in the depth image: \d+ lie in holes, 0 beyond"),
        (saturated, r"only 0 of \d+ tracks have a depth .* 0 lie in holes, \d+ beyond the sensor's range"),
        (shuffled, "of the tracks agree with the depth image .* not registered to this camera"),
    ],
)
def test_causes_of_unusable_depth_images_are_told_apart(change, reason):
    surface = Surface(room)
    depths = Depths(surface, FORWARD)
    depths.change = change
    source = scale_source(OdometryConfig(scale_source="depth"), MetricSensors(depth=depths))
    with pytest.raises(EstimationError, match=reason):
        run(source, surface, FORWARD)


def test_one_wrong_depth_image_does_not_change_the_scale_but_a_lasting_change_is_accepted():
    path = [pose(z=0.05 * k) for k in range(16)]
    surface = Surface(room)
    depths = Depths(surface, path)
    source = scale_source(OdometryConfig(scale_source="depth"), MetricSensors(depth=depths))
    lengths = []
    for index, (before, after) in enumerate(itertools.pairwise(path)):
        wrong = index == 3 or index >= 8
        depths.change = (lambda values: 2.0 * values) if wrong else (lambda values: values)
        relative = relative_pose(before.inverse() @ after, 0.0005, 0.002)
        step = source.step(relative, surface.rays(before, after), Interval(index, index + 1.0))
        lengths.append(np.linalg.norm(step.camera.pose.translation) / 0.05)
        assert (step.source == "depth (carried on)") == (index in (3, 8)), index
    assert lengths[3] == pytest.approx(1.0, abs=0.1)
    assert lengths[7] == pytest.approx(1.0, abs=0.1)
    assert lengths[-1] == pytest.approx(2.0, abs=0.2)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (wall, "no ground plane"),
        (room, "no ground plane"),
        (lambda rays: HEIGHT / np.maximum(rays[:, 1] + 0.35 * rays[:, 0], 0.12), "no ground plane"),
    ],
)
def test_camera_height_refuses_scenes_without_ground(shape, reason):
    surface = Surface(shape)
    with pytest.raises(EstimationError, match=reason):
        run(source_of("camera_height", surface, FORWARD), surface, FORWARD)


def test_camera_height_refuses_a_view_of_the_sky():
    looking_up = Pose(MOUNT.rotation @ so3.exp(np.array([0.8, 0.0, 0.0])), MOUNT.translation)
    config = OdometryConfig(scale_source="camera_height", camera_height=HEIGHT)
    with pytest.raises(EstimationError, match="only 0 tracks lie below the horizon"):
        run(scale_source(config, T_base_camera=looking_up), Surface(room), FORWARD)


def test_camera_height_must_be_given():
    with pytest.raises(ConfigurationError, match="camera_height is 0; the height in metres is required"):
        OdometryConfig(scale_source="camera_height")


@pytest.mark.parametrize(
    ("point", "reason"),
    [
        ([-2.0, 0.0, 0.0], "behind the camera"),
        ([1.0, 3.0, 0.0], "outside of the image or on a surface without texture"),
    ],
)
def test_a_range_sensor_that_measures_what_the_camera_does_not_see_is_refused(point, reason):
    ranges = SimpleNamespace(at=lambda stamp: RangeReading(np.array(point), 0.05, 0.01))
    source = scale_source(OdometryConfig(scale_source="range"), MetricSensors(ranges=ranges), MOUNT)
    with pytest.raises(EstimationError, match=reason):
        run(source, Surface(room), FORWARD)


@pytest.mark.parametrize("source", ["depth", "range"])
def test_a_missing_sensor_is_refused(source):
    with pytest.raises(ConfigurationError, match=f"scale_source is '{source}', but no"):
        scale_source(OdometryConfig(scale_source=source))


@pytest.mark.parametrize("name", ["depth", "range"])
def test_the_current_frame_gives_the_length_where_the_previous_one_has_no_measurement(name):
    surface = Surface(room)
    path = FORWARD[::2]
    source = source_of(name, surface, path)
    assert isinstance(source, MetricScale)
    sensor = getattr(source._meter, "images" if name == "depth" else "readings")
    measured_at = sensor.at

    def at(stamp: float) -> object:
        if round(stamp) % 2 == 0:
            raise EstimationError("none at even stamps")
        return measured_at(stamp)

    sensor.at = at
    steps = run(source, surface, path)
    assert {step.source for step in steps} == {name}
    assert np.all(np.abs(errors(steps, path)[0]) < 0.06)
