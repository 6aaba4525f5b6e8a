from pathlib import Path

from setuptools import find_packages, setup

package_name = "iup_pose_ros"
root = Path(__file__).resolve().parent  # colcon may run a symbolic link to this file in its build folder


def share_files(folder: str) -> tuple[str, list[str]]:
    """All files of a folder of the repository, to be installed in share/<package>/<folder>."""
    files = sorted(str(path) for path in Path(folder).glob("*") if path.is_file())
    return f"share/{package_name}/{folder}", files


def projects(name: str) -> list[str]:
    """The projects of requirements/<name>.txt, without the pins: those are of the tested environment."""
    lines = (root / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return sorted({line.split("==")[0] for line in lines if line and not line.startswith("#")})


setup(
    name=package_name,
    version="0.1.0",
    description="Visual odometry for ROS 2: learned relative camera pose with uncertainty.",
    license="Apache-2.0",
    maintainer="iup_pose_ros maintainers",
    maintainer_email="iup-pose-ros@example.com",
    python_requires=">=3.10",
    packages=find_packages(include=[package_name, f"{package_name}.*"]),
    package_data={package_name: ["weights/*.safetensors", "weights/*.md", "replay/*.xml", "py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package_name}"]),
        (f"share/{package_name}", ["package.xml"]),
        share_files("launch"),
        share_files("config"),
    ],
    install_requires=["setuptools", *projects("runtime")],
    extras_require={
        name: projects(name) for name in ("training", "evaluation", "docs", "test", "pose-graph", "peers")
    },
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "vo_node = iup_pose_ros.node.vo_node:main",
            "iup-pose = iup_pose_ros.cli:app",
        ],
    },
)
