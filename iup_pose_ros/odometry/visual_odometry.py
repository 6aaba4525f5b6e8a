"""Visual odometry: tracking, keyframe decision, relative pose, scale and integration, in that order."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.estimators.base import RelativePoseEstimator
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.odometry import pose_check
from iup_pose_ros.odometry.image_pose import ImagePose, resection
from iup_pose_ros.odometry.integrator import Integrator, zero_twist
from iup_pose_ros.odometry.keyframe_window import KeyframeWindow
from iup_pose_ros.odometry.keyframes import StationaryDetector, is_keyframe_due
from iup_pose_ros.odometry.metric_scale import MetricSensors, scale_source
from iup_pose_ros.odometry.motion_prior import Bridge, MotionPrior
from iup_pose_ros.odometry.odometry_config import OdometryConfig
from iup_pose_ros.odometry.scaled_step import Interval
from iup_pose_ros.odometry.state import KeyframeEdge, OdometryUpdate, TrackingState, Twist
from iup_pose_ros.odometry.tracks import Tracker, Tracks, is_low_texture
from iup_pose_ros.stamps import CLOCK_JUMP
from iup_pose_ros.types import Frame, Matches, RelativePose

_DEFAULT_CONFIG = OdometryConfig()
_IDENTITY_EXTRINSICS = Pose.identity()
_NO_SENSORS = MetricSensors()
_WAITING = "waiting for enough motion for the first step"


class VisualOdometry:
    """Odometry of one camera on a moving base.

    Args:
        estimator: relative pose estimator.
        config: settings.
        T_base_camera: pose of the camera (optical frame) in the base frame. With a relative scale its lever
            arm, given in metres, is used in the trajectory's unit.
        sensors: what the scale is measured with, required by some values of ``scale_source``.
        prior: motion of the base by another sensor, which carries the pose through a loss and predicts the
            rotation for the tracking; None: neither.

    Raises:
        ConfigurationError: the sensor that ``scale_source`` requires is missing.
    """

    def __init__(
        self,
        estimator: RelativePoseEstimator,
        config: OdometryConfig = _DEFAULT_CONFIG,
        T_base_camera: Pose = _IDENTITY_EXTRINSICS,
        sensors: MetricSensors = _NO_SENSORS,
        prior: MotionPrior | None = None,
    ) -> None:
        self._estimator = estimator
        self._config = config
        self._T_base_camera = T_base_camera
        self._sensors = sensors
        self._prior = prior
        self.reset()

    def reset(self) -> None:
        """Reset to the origin and clear all state."""
        self.refused_frames = 0
        self.repeated_frames = 0
        self._frame: Frame | None = None
        self._state = TrackingState.INITIALIZING
        self._reason = _WAITING
        self._stamp: float | None = None
        self._tracks: Tracks | None = None
        self._suspended: Tracks | None = None
        self._tracker = Tracker(self._config.maximum_tracks)
        self._stationary = StationaryDetector(self._config)
        self._scale = scale_source(self._config, self._sensors, self._T_base_camera)
        self._window = KeyframeWindow()
        self._bridge = Bridge(self._prior, self._T_base_camera)
        self._integrator = Integrator(self._T_base_camera, self._bridge)

    def change(self, config: OdometryConfig) -> None:
        """Apply changed settings, except those of the scale."""
        self._config = config
        self._tracker.maximum = config.maximum_tracks
        self._stationary.config = config

    @property
    def keyframes(self) -> int:
        """Number of keyframes so far."""
        return self._tracker.keyframes

    @property
    def prior_problem(self) -> str:
        """Why the motion prior did not give its latest motion, one sentence; empty if it did."""
        return self._bridge.problem

    @property
    def matches(self) -> Matches | None:
        """Tracks between the last keyframe and the last frame; None if nothing is tracked."""
        return None if self._tracks is None else self._tracks.matches

    def process(self, frame: Frame) -> OdometryUpdate:
        """Return the odometry update of the next frame of the camera.

        A frame whose stamp does not increase is dropped and counted in ``refused_frames``. If it is more than
        a second older, the clock has jumped back: the keyframe is dropped, the pose stays. A frame that
        repeats the pixels of the last one is counted in ``repeated_frames`` and otherwise ignored.
        """
        # 1. Stamp and pixels: the stamp must increase, and the pixels must differ from the last image.
        refusal = self._take_stamp(frame.stamp)
        if refusal:
            return OdometryUpdate(self._state, refusal, frame.stamp, frame.frame_id, refused=True)
        if self._frame is not None and frame.repeats(self._frame):
            self.repeated_frames += 1
            return replace(self._report(frame), repeated=True)
        self._frame = frame

        # 2. Tracks: track the points of the last keyframe into the frame, or start a keyframe.
        reference = self._reference(frame)
        if reference is None:
            return self._begin(frame)
        tracks = self._advanced(reference, frame)

        # 3. Standstill: repeat the pose, once the motion since the last keyframe has been measured.
        resting = self._stationary.update(tracks)
        is_measured = self._state is TrackingState.STATIONARY or not self._integrator.moved
        if resting and (is_measured or tracks.median_motion <= self._config.stationary_motion):
            return self._rest(reference, tracks)

        # 4. Keyframe decision. While LOST, a pose is estimated for every frame to detect the recovery.
        due = resting or is_keyframe_due(tracks, self._integrator.moved, self._config)
        contradiction = self._stationary.contradiction(tracks)
        if due and not resting and contradiction:
            return self._lose(reference, tracks, contradiction)

        # 5. Between keyframes: pose of the image relative to the last keyframe, by its tracks.
        if not due and self._state is not TrackingState.LOST:
            return self._between_keyframes(tracks, locate=not contradiction)

        # 6. Relative pose by the estimator, checked against the tracks without those fixed in the image.
        tracks = self._without_fixed(tracks)
        try:
            relative, seconds = self._estimate(tracks)
        except EstimationError as error:
            return self._lose(reference, tracks, str(error))
        if not due:
            return self._between_keyframes(tracks, locate=not contradiction)

        # 7. New keyframe: step in the trajectory's unit, pose, twist and edge.
        return self._add_keyframe(tracks, relative, seconds)

    def _take_stamp(self, stamp: float) -> str:
        """Accept the stamp of the next frame, or return why the frame is dropped."""
        last = self._stamp
        if not math.isfinite(stamp) or (last is not None and last - CLOCK_JUMP <= stamp <= last):
            self.refused_frames += 1
            return f"non-monotonic timestamp {stamp:.6f} s (last {last} s); frame dropped"
        if last is not None and stamp < last:
            self._abandon("the clock jumped back")
            self._integrator.restart_clock(stamp, CLOCK_JUMP)
        self._stamp = stamp
        return ""

    def _abandon(self, reason: str) -> None:
        """Drop the keyframe; the next frame starts a new one, which continues from the last pose."""
        self._integrator.drop_keyframe()
        self._tracks = self._suspended = None
        self._stationary.reset()
        self._state, self._reason = TrackingState.INITIALIZING, f"{reason}; starting from a new keyframe"

    def _reference(self, frame: Frame) -> Tracks | None:
        """Return the tracks to continue: the last ones or, after a loss, those before it if possible."""
        if self._tracks is not None and not self._tracks.fits(frame):
            self._abandon("the camera or its calibration changed")
        suspended, self._suspended = self._suspended, None
        if suspended is not None and suspended.fits(frame):
            if self._are_enough(len(self._advanced(suspended, frame)), of=len(suspended)):
                return suspended
            if frame.stamp - suspended.latest.stamp < self._config.lost_patience:
                self._suspended = suspended
        return self._tracks

    def _advanced(self, tracks: Tracks, frame: Frame) -> Tracks:
        """Track into a frame, from the positions that the motion prior predicts if there is one."""
        return tracks.advanced(frame, self._bridge.rotation(tracks.latest.stamp, frame.stamp))

    def _are_enough(self, tracks: int, of: int) -> bool:
        """Return whether enough tracks survive, in number and as a share ``of`` the initial ones."""
        config = self._config
        return tracks >= config.minimum_tracks and tracks > config.keyframe_tracked_fraction * of

    def _begin(self, frame: Frame) -> OdometryUpdate:
        """Start a keyframe without a predecessor; the state does not change."""
        self._tracks = self._new_keyframe(frame)
        if self._tracks is None:
            self._reason = "too few corners to track"
        elif self._state is TrackingState.LOST:
            self._reason = "restarting from a new keyframe"
        elif not self._integrator.moved:
            self._reason = _WAITING
        return self._report(frame)

    def _new_keyframe(self, frame: Frame) -> Tracks | None:
        """Return the corners of a frame as tracks; None if there are too few."""
        tracks = self._tracker.begin(frame)
        return None if is_low_texture(frame) or len(tracks) < self._config.minimum_tracks else tracks

    def _without_fixed(self, tracks: Tracks) -> Tracks:
        """Return the tracks without those that are fixed in the image, where no new corners are detected."""
        known = self._scale.depths.of(tracks.ids)
        fixed = pose_check.fixed_in_image(tracks, known, self._config.minimum_tracks)
        self._tracker.avoid(tracks.points_latest[fixed])
        return tracks.kept(~fixed)

    def _estimate(self, tracks: Tracks) -> tuple[RelativePose, float]:
        """Return the checked relative pose and the inference time in seconds.

        Raises:
            EstimationError: the image has no texture, the estimator fails, its pose is implausible, or the
                length of the step is unknown.
        """
        few = len(tracks) < self._config.minimum_tracks
        if few and is_low_texture(tracks.latest):
            raise EstimationError(f"only {len(tracks)} tracks are left: image contrast too low")
        start = time.perf_counter()
        relative = self._estimator.estimate(tracks.keyframe, tracks.latest, None if few else tracks.matches)
        seconds = time.perf_counter() - start
        known = self._scale.depths.of(tracks.ids)
        relative = pose_check.checked(relative, tracks, known, self._config, lambda: self._resection(tracks))
        if not relative.metric:
            self._scale.check(relative, tracks.rays, Interval(tracks.keyframe.stamp, tracks.latest.stamp))
        return relative, seconds

    def _add_keyframe(self, tracks: Tracks, relative: RelativePose, seconds: float) -> OdometryUpdate:
        """Report a keyframe with its checked relative pose, which took ``seconds``."""
        # 1. Scale: the length of the step, and with it the depths of the tracks.
        start, end = tracks.keyframe.stamp, tracks.latest.stamp
        step = self._scale.step(relative, tracks.rays, Interval(start, end))
        # 2. Twist since the last image with a pose.
        self._adopt(tracks)
        last = self._integrator.last_image(tracks)
        twist = self._integrator.twist(last.motion.inverse() @ step.camera, end - last.stamp)
        # 3. New keyframe: the inlier tracks continue, new corners fill the gaps.
        self._tracks = self._tracker.renew(tracks.kept(step.inliers))
        # 4. Pose and depths by the refined step. The edge stays the measured one, independent of others.
        refined = self._window.add(step, tracks, self._tracks, self._scale.depths)
        self._scale.depths = refined.depths
        self._integrator.advance(refined.motion, start, end)
        base, name = step.camera.change_of_frame(self._T_base_camera), self._estimator.name
        edge = KeyframeEdge.of(tracks, self._tracks.keyframe_id, relative, step, base, name, seconds)
        self._bridge.learn(step, start, end)
        self._state, self._reason = TrackingState.TRACKING, self._scale.warning
        return self._report(tracks.latest, self._integrator.finish_edge(edge), self._integrator.pose, twist)

    def _between_keyframes(self, tracks: Tracks, locate: bool) -> OdometryUpdate:
        """Report a frame between keyframes: with its pose if ``locate`` and its tracks determine one."""
        self._tracks = tracks
        if not self._integrator.moved:
            self._state, self._reason = TrackingState.INITIALIZING, _WAITING
            return self._report(tracks.latest)
        self._state, self._reason = TrackingState.TRACKING, self._scale.warning
        # Tracks that no step has measured, after a loss, may be those of a moving object.
        is_measured = bool(np.isin(tracks.ids, self._scale.depths.ids).any())
        if self._config.odometry_rate == "keyframe" or not locate or not is_measured:
            return self._report(tracks.latest)
        self._adopt(tracks)
        try:
            image = self._resection(tracks)
            pose_check.check_rotation_rate(image.motion.pose, tracks.interval, self._config, "the tracks")
        except EstimationError:
            return self._report(tracks.latest)
        pose, twist = self._integrator.place(image, tracks)
        return self._report(tracks.latest, pose=pose, twist=twist)

    def _adopt(self, tracks: Tracks) -> None:
        """Measure the motion relative to the keyframe of these tracks; tracks before a loss are given up."""
        self._suspended = None
        self._integrator.adopt_keyframe(tracks)

    def _resection(self, tracks: Tracks) -> ImagePose:
        """Return the pose of the latest image of these tracks by their known depths."""
        typical = self._scale.typical_inverse_depth(tracks.rays)
        return resection(tracks, self._scale.depths, typical, self._integrator.last_image(tracks).motion.pose)

    def _rest(self, reference: Tracks, tracks: Tracks) -> OdometryUpdate:
        """Report a frame of a camera at rest.

        Later frames are compared with the image in which the camera came to rest, not with one another, so
        that neither tracking errors nor slow motion accumulate undetected.
        """
        self._adopt(tracks)
        self._integrator.rest(tracks.keyframe.stamp, tracks.latest.stamp)
        if tracks.fraction <= self._config.keyframe_tracked_fraction:
            self._tracks = self._tracker.renew_in_place(tracks)
            self._window.clear()
        else:
            self._tracks = reference.at_rest(tracks.latest.stamp)
        self._state, self._reason = TrackingState.STATIONARY, "the camera is at rest"
        shift, angular = self._stationary.undetected_speed(tracks.latest.intrinsics)
        twist = zero_twist(self._scale.length_of_shift(shift), angular)
        return self._report(tracks.latest, pose=self._integrator.pose, twist=twist)

    def _lose(self, reference: Tracks, tracks: Tracks, reason: str) -> OdometryUpdate:
        """Report a frame without a pose.

        Enough surviving tracks are kept, since more motion may yield a pose. Otherwise a new keyframe starts,
        and the tracks up to the last good frame are kept aside and retried for ``lost_patience`` seconds.
        """
        if self._are_enough(len(tracks), of=tracks.started):
            self._tracks = tracks
        else:
            if self._state is not TrackingState.LOST:
                self._suspended = reference
            self._tracks = self._new_keyframe(tracks.latest)
        self._state, self._reason = TrackingState.LOST, reason
        return self._report(tracks.latest)

    def _report(
        self,
        frame: Frame,
        edge: KeyframeEdge | None = None,
        pose: PoseWithCovariance | None = None,
        twist: Twist | None = None,
    ) -> OdometryUpdate:
        """Return the update of a frame; while LOST, with the motion prior's pose if it covers the loss."""
        update = OdometryUpdate(self._state, self._reason, frame.stamp, frame.frame_id, edge, pose, twist)
        bridged = self._integrator.bridged(frame.stamp) if self._state is TrackingState.LOST else None
        return update if bridged is None else replace(update, pose=bridged[0], twist=bridged[1], bridged=True)
