"""Readers return the poses of data sets that the tests write in the published layouts."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from iup_pose_ros.cli import app
from iup_pose_ros.datasets.euroc import load_euroc
from iup_pose_ros.datasets.kitti import load_kitti
from iup_pose_ros.datasets.megadepth import load_megadepth
from iup_pose_ros.datasets.scannet import load_scannet
from iup_pose_ros.datasets.tum import load_tum
from iup_pose_ros.errors import DataError, ImageError
from iup_pose_ros.geometry.pose import Pose

K = np.array([[500.0, 0.0, 320.0], [0.0, 501.0, 240.0], [0.0, 0.0, 1.0]])


def poses(count: int = 3, seed: int = 0) -> list[Pose]:
    """Return random poses T_world_camera."""
    rng = np.random.default_rng(seed)
    rotations = Rotation.from_rotvec(0.1 * rng.standard_normal((count, 3))).as_matrix()
    return [Pose(rotation, rng.standard_normal(3)) for rotation in rotations]


def write_image(path: Path, width: int = 64, height: int = 48, level: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((height, width, 3), (10, 20, level), np.uint8))


def write_depth(path: Path, value: int, width: int = 64, height: int = 48) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((height, width), value, np.uint16))


def assert_pose(actual: Pose, expected: Pose, atol: float = 1e-6) -> None:
    assert_allclose(actual.matrix, expected.matrix, atol=atol)


def objects(values: list) -> np.ndarray:
    array = np.empty(len(values), object)
    for i, value in enumerate(values):
        array[i] = value
    return array


def write_megadepth(root: Path, cameras: list[Pose], **changes: np.ndarray) -> Path:
    names = [f"Undistorted_SfM/0015/images/{i}.jpg" for i in range(len(cameras))]
    for i, name in enumerate(names):
        write_image(root / name, 640, 480, 100 + i)
    arrays = {
        "image_paths": objects([*names, None]),
        "depth_paths": objects([*(f"phoenix/S6/0015/depths/{i}.h5" for i in range(len(cameras))), None]),
        "intrinsics": objects([*(K for _ in cameras), None]),
        "poses": objects([*(pose.inverse().matrix for pose in cameras), None]),
        "pair_infos": objects([((0, 1), 0.35, [0.1]), ((2, 1), np.float64(0.8), [0.1])]),
    }
    file = root / "scene_info/0015_0.1_0.9.npz"
    file.parent.mkdir(exist_ok=True)
    np.savez(file, **{**arrays, **changes})  # type: ignore[arg-type]
    return file


def test_megadepth_scene_info_gives_pairs_with_overlap(tmp_path):
    cameras = poses()
    file = write_megadepth(tmp_path, cameras)
    pairs = load_megadepth(tmp_path, file, with_depth=False)
    assert [pair.overlap for pair in pairs] == [0.35, 0.8]
    assert_pose(pairs[1].T_1_0, cameras[1].inverse() @ cameras[2])
    assert not pairs[0].metric
    loaded = pairs[1].images[0].load()
    assert loaded.image[0, 0].tolist() == pytest.approx([102, 20, 10], abs=4)
    assert loaded.intrinsics.cx == 319.5  # COLMAP's origin is the corner of the first pixel
    assert len(load_megadepth(tmp_path, file.parent, overlap=(0.5, 1.0))) == 1


def test_megadepth_depth_is_read_where_h5py_is_installed(tmp_path):
    h5py = pytest.importorskip("h5py")
    file = write_megadepth(tmp_path, poses())
    path = tmp_path / "phoenix/S6/0015/depths/0.h5"
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as archive:
        archive["depth"] = np.full((480, 640), 7.5, np.float32)
    assert_allclose(load_megadepth(tmp_path, file)[0].images[0].load().depth, 7.5)
    with h5py.File(path, "w") as archive:
        archive["other"] = np.zeros(3)
    with pytest.raises(DataError, match=r"has the arrays \['other'\]; 'depth' is needed"):
        load_megadepth(tmp_path, file)[0].images[0].load()


class ForbiddenObject:
    def __reduce__(self):
        return Path, ("/",)


def test_megadepth_files_with_unexpected_content_are_rejected(tmp_path):
    write_megadepth(tmp_path, poses())
    np.savez(tmp_path / "other.npz", image_paths=np.zeros(2))
    with pytest.raises(DataError, match=r"other\.npz lacks depth_paths, .*; found image_paths"):
        load_megadepth(tmp_path, tmp_path / "other.npz")
    with pytest.raises(DataError, match="is missing: a scene_info file"):
        load_megadepth(tmp_path, tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("nothing")
    with pytest.raises(DataError, match="not a readable"):
        load_megadepth(tmp_path, tmp_path / "text.npz")
    for infos, message in (
        (objects([(0, 1)]), r"pair_infos holds \(0, 1\)"),
        (objects([((0, 9), 0.5)]), "names images 0 and 9; there are 4"),
        (objects([((0, 3), 0.5)]), "image 3, which has no path in image_paths"),
        (objects([ForbiddenObject()]), r"holds pathlib.*\.Path.*; only arrays and numbers are accepted"),
    ):
        with pytest.raises(DataError, match=message):
            load_megadepth(tmp_path, write_megadepth(tmp_path, poses(), pair_infos=infos))


def write_scannet(root: Path, cameras: list[Pose]) -> tuple[Path, Path, Path]:
    scan = root / "scans/scene0707_02"
    for i, camera in enumerate(cameras):
        write_image(scan / f"color/{15 * i}.jpg", 1296, 968)
        write_depth(scan / f"depth/{15 * i}.png", 2500, 640, 480)
        (scan / "pose").mkdir(exist_ok=True)
        np.savetxt(scan / f"pose/{15 * i}.txt", camera.matrix)
    np.savez(root / "test.npz", name=np.array([[707, 2, 0, 15], [707, 2, 30, 0]]))
    np.savez(root / "intrinsics.npz", scene0707_02=K)
    return root / "scans", root / "test.npz", root / "intrinsics.npz"


def test_scannet_index_gives_pairs_of_640_by_480_with_depth(tmp_path):
    cameras = poses()
    pairs = load_scannet(*write_scannet(tmp_path, cameras))
    assert_pose(pairs[0].T_1_0, cameras[1].inverse() @ cameras[0])
    assert_pose(pairs[1].T_1_0, cameras[0].inverse() @ cameras[2])
    loaded = pairs[1].images[0].load()
    assert loaded.image.shape == (480, 640, 3)
    assert loaded.intrinsics.fx == 500.0
    assert_allclose(loaded.depth, 2.5)
    assert pairs[0].metric
    assert np.isnan(pairs[0].overlap)


def test_scannet_training_index_has_scores(tmp_path):
    scans, index, intrinsics = write_scannet(tmp_path, poses())
    np.savez(index, name=np.array([[707, 2, 0, 15], [707, 2, 30, 0]]), score=np.array([0.3, 0.6]))
    pairs = load_scannet(scans, index, intrinsics, min_overlap=0.4)
    assert [pair.overlap for pair in pairs] == [0.6]


def test_scannet_in_another_layout_is_rejected(tmp_path):
    scans, index, intrinsics = write_scannet(tmp_path, poses())
    np.savez(intrinsics, scene0000_00=K)
    with pytest.raises(DataError, match=r"intrinsics\.npz lacks scene0707_02; found scene0000_00"):
        load_scannet(scans, index, intrinsics)
    np.savez(index, name=np.zeros((5, 3)))
    with pytest.raises(DataError, match=r"'name' has shape \(5, 3\); \(N, 4\) scene, scan, image 0, image 1"):
        load_scannet(scans, index, intrinsics)
    write_scannet(tmp_path, poses())
    (scans / "scene0707_02/pose/0.txt").write_text("-inf -inf -inf -inf\n" * 4)
    with pytest.raises(DataError, match=r"0\.txt: 4 rows or values that are not finite"):
        load_scannet(scans, index, intrinsics)


def write_tum(folder: Path, cameras: list[Pose]) -> None:
    lines = {"rgb": ["# colour"], "depth": ["# depth"], "groundtruth": ["# truth"]}
    for i, camera in enumerate(cameras):
        stamp = 1305031102.0 + 0.04 * i
        write_image(folder / f"rgb/{stamp:.6f}.png", 640, 480)
        write_depth(folder / f"depth/{stamp:.6f}.png", 10000, 640, 480)
        lines["rgb"].append(f"{stamp:.6f} rgb/{stamp:.6f}.png")
        lines["depth"].append(f"{stamp + 0.01:.6f} depth/{stamp:.6f}.png")
        values = " ".join(f"{value:.6f}" for value in (*camera.translation, *camera.quaternion))
        lines["groundtruth"].append(f"{stamp:.6f} {values}")
    for name, content in lines.items():
        (folder / f"{name}.txt").write_text("\n".join(content) + "\n")


def test_tum_images_have_interpolated_poses_and_depth_in_metres(tmp_path):
    folder = tmp_path / "rgbd_dataset_freiburg3_test"
    cameras = poses()
    write_tum(folder, cameras)
    extra = folder / "rgb/1305031102.060000.png"
    write_image(extra, 640, 480)
    rgb = (folder / "rgb.txt").read_text().splitlines()
    (folder / "rgb.txt").write_text("\n".join([*rgb[:3], "1305031102.06 rgb/1305031102.060000.png", rgb[3]]))
    sequence = load_tum(folder)
    assert len(sequence) == 4
    for image, camera in zip((sequence[0], sequence[1], sequence[3]), cameras, strict=True):
        assert_pose(image.T_world_camera, camera, 1e-5)
    middle = 0.5 * (cameras[1].translation + cameras[2].translation)
    assert_allclose(sequence[2].T_world_camera.translation, middle, atol=1e-4)
    loaded = sequence[0].image.load()
    assert_allclose(loaded.depth, 2.0)
    assert (loaded.intrinsics.fx, loaded.intrinsics.cy) == (535.4, 247.6)


def test_tum_cameras_with_distortion_are_undistorted(tmp_path):
    folder = tmp_path / "rgbd_dataset_freiburg1_test"
    write_tum(folder, poses())
    loaded = load_tum(folder)[0].image.load()
    view = loaded.intrinsics
    assert (view.width, view.height) != (640, 480)
    assert loaded.image.shape == (view.height, view.width, 3)
    assert loaded.depth.shape == (view.height, view.width)
    assert (loaded.depth == 0.0).all()


def test_tum_in_another_layout_is_rejected(tmp_path):
    with pytest.raises(DataError, match="its name has no freiburg1, freiburg2 or freiburg3"):
        load_tum(tmp_path)
    with pytest.raises(DataError, match=r"rgb\.txt is missing: timestamp filename"):
        load_tum(tmp_path, camera=3)
    write_tum(tmp_path, poses())
    (tmp_path / "groundtruth.txt").write_text("1.0 2.0 3.0\n")
    with pytest.raises(DataError, match="line 1: 3 columns; expected: timestamp tx ty tz qx qy qz qw"):
        load_tum(tmp_path, camera=3)


def write_kitti(root: Path, cameras: list[Pose]) -> np.ndarray:
    """Write a sequence; return the position of camera 2 in the frame of camera 0."""
    folder = root / "sequences/06"
    for i in range(len(cameras)):
        write_image(folder / f"image_2/{i:06d}.png", 640, 480)
    centre = np.array([0.06, -0.001, 0.003])
    projections = {0: np.zeros(3), 2: -K @ centre}
    rows = [
        f"P{i}: " + " ".join(map(repr, np.column_stack([K, column]).ravel().tolist()))
        for i, column in projections.items()
    ]
    (folder / "calib.txt").write_text("\n".join(rows) + "\n")
    np.savetxt(folder / "times.txt", 0.1 * np.arange(len(cameras)))
    (root / "poses").mkdir()
    np.savetxt(root / "poses/06.txt", [camera.matrix[:3].ravel() for camera in cameras])
    return centre


def test_kitti_poses_are_those_of_the_selected_camera(tmp_path):
    cameras = poses()
    centre = write_kitti(tmp_path, cameras)
    sequence = load_kitti(tmp_path, "06")
    assert [image.stamp for image in sequence] == pytest.approx([0.0, 0.1, 0.2])
    for image, camera in zip(sequence, cameras, strict=True):
        assert_pose(image.T_world_camera, camera @ Pose(np.eye(3), centre))
    assert_allclose(sequence[1].image.load().intrinsics.matrix, K)


def test_kitti_in_another_layout_is_rejected(tmp_path):
    with pytest.raises(DataError, match="06 is missing: sequence 06 of KITTI odometry"):
        load_kitti(tmp_path, "06")
    write_kitti(tmp_path, poses())
    with pytest.raises(DataError, match="has no row P3; it has P0, P2"):
        load_kitti(tmp_path, "06", camera=3)
    (tmp_path / "sequences/06/image_2/000001.png").unlink()
    with pytest.raises(DataError, match="2 images, 3 times and 3 poses; equal numbers are expected"):
        load_kitti(tmp_path, "06")


SENSOR = """sensor_type: camera
T_BS:
  cols: 4
  rows: 4
  data: [0.0, -1.0, 0.0, -0.02, 1.0, 0.0, 0.0, -0.06, 0.0, 0.0, 1.0, 0.01, 0.0, 0.0, 0.0, 1.0]
resolution: [752, 480]
camera_model: pinhole
intrinsics: [458.654, 457.296, 367.215, 248.375]
distortion_model: radial-tangential
distortion_coefficients: [-0.28340811, 0.07395907, 0.00019359, 1.76187114e-05]
"""


def write_euroc(folder: Path, bodies: list[Pose]) -> None:
    camera, truth = folder / "mav0/cam0", folder / "mav0/state_groundtruth_estimate0"
    truth.mkdir(parents=True)
    images, states = ["#timestamp [ns],filename"], ["#timestamp, p_RS_R_x [m], ..."]
    for i, body in enumerate(bodies):
        stamp = 1403715274302142976 + 50_000_000 * i
        write_image(camera / f"data/{stamp}.png", 752, 480)
        images.append(f"{stamp},{stamp}.png")
        x, y, z, w = body.quaternion
        states.append(",".join(map(str, [stamp, *body.translation, w, x, y, z, 0.1, 0.2, 0.3])))
    (camera / "data.csv").write_text("\n".join(images) + "\n")
    (camera / "sensor.yaml").write_text(SENSOR)
    (truth / "data.csv").write_text("\n".join(states) + "\n")


def test_euroc_poses_are_transformed_from_body_to_camera(tmp_path):
    bodies = poses()
    write_euroc(tmp_path, bodies)
    rotation = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    T_body_camera = Pose(rotation, np.array([-0.02, -0.06, 0.01]))
    sequence = load_euroc(tmp_path)
    assert [image.stamp for image in sequence] == pytest.approx([0.0, 0.05, 0.1])
    for image, body in zip(sequence, bodies, strict=True):
        assert_pose(image.T_world_camera, body @ T_body_camera)
    loaded = sequence[0].image.load()
    view = loaded.intrinsics
    assert loaded.image.shape == (view.height, view.width, 3)
    assert 300.0 < view.fx < 458.654


def test_euroc_in_another_layout_is_rejected(tmp_path):
    with pytest.raises(DataError, match="cam0 is missing: a camera with data"):
        load_euroc(tmp_path)
    write_euroc(tmp_path, poses())
    calibration = tmp_path / "mav0/cam0/sensor.yaml"
    calibration.write_text(SENSOR.replace("radial-tangential", "equidistant"))
    with pytest.raises(DataError, match="distortion_model 'equidistant'; radial-tangential is expected"):
        load_euroc(tmp_path)
    calibration.write_text(SENSOR.replace("resolution", "size"))
    with pytest.raises(DataError, match=r"'resolution'.*expected are intrinsics"):
        load_euroc(tmp_path)


def test_errors_name_missing_images(tmp_path):
    write_kitti(tmp_path, poses())
    image = load_kitti(tmp_path, "06")[0].image
    image.path.write_text("no image")
    with pytest.raises(ImageError, match=r"000000\.png is damaged"):
        image.load()
    image.path.unlink()
    with pytest.raises(DataError, match=r"000000\.png is missing"):
        image.load()


def evaluated(*arguments: object, output: Path) -> dict[str, dict]:
    """Return the metrics by set of the classical estimator, which fails on these uniform images."""
    command = ["evaluate", *map(str, arguments), "--estimator", "epipolar_klt", "--json", str(output)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    return json.loads(output.read_text())["estimators"]["epipolar_klt"]["sets"]


def test_one_command_evaluates_megadepth_and_scannet(tmp_path):
    file = write_megadepth(tmp_path, poses())
    sets = evaluated("megadepth", tmp_path, file.parent, output=tmp_path / "megadepth.json")
    assert {name: statistics["pairs"] for name, statistics in sets.items()} == {"0015_0.1_0.9": 2}
    sets = evaluated("scannet", *write_scannet(tmp_path, poses()), output=tmp_path / "scannet.json")
    assert {name: statistics["failures"] for name, statistics in sets.items()} == {"scannet": 2}
