"""Metrics of one run, ready for JSON. No I/O."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from iup_pose_ros.evaluation.json_document import json_value
from iup_pose_ros.evaluation.metrics.consistency import Consistency
from iup_pose_ros.evaluation.metrics.segments import SegmentErrors
from iup_pose_ros.evaluation.metrics.trajectory_errors import root_mean_square
from iup_pose_ros.evaluation.runs.accuracy import RPE_DISTANCES, Accuracy
from iup_pose_ros.evaluation.runs.run_record import RunRecord
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.odometry import TrackingState

Metrics = dict[str, Any]

# Metrics that need ground truth; None without it.
ACCURACY_KEYS = (
    "path_length_m",
    "ate_sim3_m",
    "ate_sim3_keyframes_m",
    "ate_sim3_percent_of_path",
    "ate_se3_m",
    "rpe_rotation_deg_per_frame",
    "rpe_rotation_deg",
    "rpe_rotation_deg_median",
    "rpe_direction_deg",
    "rpe_direction_deg_median",
    "rpe_per_distance",
    "kitti_t_rel_percent",
    "kitti_r_rel_deg_per_m",
    "nees",
    "coverage",
)


def compute_metrics(record: RunRecord, accuracy: Accuracy | None) -> Metrics:
    """Compute the metrics of a run; None if one is undefined (no ground truth, no motion, path too short).

    Keys end in their unit: ``_m`` (unit of the ground truth), ``_deg``, ``_ms``, ``_share`` (0 to 1).
    ``rpe_*`` and ``ate_*`` are root mean squares unless the key contains ``median``. Of an offline run, all
    metrics except ``latency_*`` are reproducible on any computer.

    Args:
        record: outputs of the run.
        accuracy: its errors; None without ground truth.
    """
    values = run_metrics(record)
    values |= dict.fromkeys(ACCURACY_KEYS) if accuracy is None else accuracy_metrics(accuracy)
    return {key: json_value(value) for key, value in values.items()}


def run_metrics(record: RunRecord) -> Metrics:
    """Compute the metrics that do not need ground truth."""
    offered, processed = len(record.image_stamps), len(record.frames)
    latencies = np.array([frame.latency for frame in record.frames])
    inference_times = np.array([edge.inference_time for edge in record.edges])
    keyframes = len(record.edges) + 1 if record.edges else 0
    duration = float(np.ptp(record.image_stamps)) if offered else 0.0
    positions = record.trajectory.positions
    distances = np.linalg.norm(positions - positions[:1], axis=1)
    return {
        "mode": record.mode,
        "frames": offered,
        "frames_processed": processed,
        "processed_share": processed / offered if offered else math.nan,
        "keyframes": keyframes,
        "keyframes_per_s": keyframes / duration if duration > 0.0 else math.nan,
        "frames_dropped_busy": record.counters.get("frames_dropped_busy", 0),
        "frames_dropped_invalid": record.counters.get("frames_dropped_invalid", 0),
        "frames_not_delivered": offered - record.counters.get("frames_received", processed),
        "tracked_share": record.share(TrackingState.TRACKING, TrackingState.STATIONARY),
        "stationary_share": record.share(TrackingState.STATIONARY),
        "lost_share": record.share(TrackingState.LOST),
        "pose_share": record.pose_share,
        "metric_share": float(np.mean([edge.metric for edge in record.edges])) if record.edges else math.nan,
        "carried_scale_share": (
            float(np.mean([edge.has_carried_scale for edge in record.edges])) if record.edges else math.nan
        ),
        "latency_ms_p50": 1e3 * percentile(latencies, 50),
        "latency_ms_p99": 1e3 * percentile(latencies, 99),
        "latency_ms_estimator_p50": 1e3 * percentile(inference_times, 50),
        "frames_per_edge": float(np.mean(record.frames_per_edge)) if record.edges else math.nan,
        "estimate_farthest_from_start_units": float(distances.max()) if record.poses else math.nan,
    }


def accuracy_metrics(accuracy: Accuracy) -> Metrics:
    """Compute the metrics that need ground truth: ACCURACY_KEYS."""
    errors, drift = accuracy.edge_errors, accuracy.drift
    moved = accuracy.path_length > 0.0
    consistencies = {
        "rotation": accuracy.rotation,
        "direction": accuracy.direction,
        "integrated_rotation": drift.rotation_consistency,
        "integrated_position": drift.position_consistency,
    }
    return {
        "path_length_m": accuracy.path_length,
        "ate_sim3_m": accuracy.ate,
        "ate_sim3_keyframes_m": accuracy.ate_keyframes,
        "ate_sim3_percent_of_path": 100.0 * accuracy.ate / accuracy.path_length if moved else math.nan,
        "ate_se3_m": accuracy.ate_rigid,
        "rpe_rotation_deg_per_frame": root_mean_square(accuracy.rotation_per_frame_deg),
        "rpe_rotation_deg": root_mean_square(errors.rotation_deg),
        "rpe_rotation_deg_median": percentile(errors.rotation_deg, 50),
        "rpe_direction_deg": root_mean_square(errors.direction_deg),
        "rpe_direction_deg_median": percentile(errors.direction_deg, 50),
        "rpe_per_distance": {
            f"{distance:g}_m": segment_metrics(accuracy.by_distance.get(distance))
            for distance in RPE_DISTANCES
        },
        "kitti_t_rel_percent": 100.0 * accuracy.kitti.translation_share,
        "kitti_r_rel_deg_per_m": math.degrees(accuracy.kitti.rotation_rate),
        "nees": {name: nees_metrics(consistency) for name, consistency in consistencies.items()},
        "coverage": {
            name: {f"{sigmas}_sigma": share for sigmas, share in consistency.coverage.items()}
            for name, consistency in consistencies.items()
        },
    }


def percentile(values: Array, percent: float) -> float:
    """Return a percentile of values (N,), ignoring NaN; NaN if no value is left."""
    valid = values[~np.isnan(values)]
    return float(np.percentile(valid, percent)) if len(valid) else math.nan


def segment_metrics(errors: SegmentErrors | None) -> Metrics | None:
    """Return number of segments and RMSE of translation and rotation; None without segments."""
    if errors is None or len(errors) == 0:
        return None
    return {
        "segments": len(errors),
        "translation_m": root_mean_square(errors.translation),
        "rotation_deg": math.degrees(root_mean_square(errors.rotation)),
    }


def nees_metrics(consistency: Consistency) -> Metrics:
    """Return mean and median NEES, the ideal mean, and the 95 % interval of a consistent estimator's mean."""
    low, high = consistency.expected_interval
    return {
        "mean": consistency.mean,
        "median": percentile(consistency.nees, 50),
        "ideal": consistency.dof,
        "interval_low": low,
        "interval_high": high,
    }
