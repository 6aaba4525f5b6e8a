"""README and docs name only what exists, and their examples run."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer

from iup_pose_ros.cli import app
from iup_pose_ros.node.settings import PARAMETERS

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "iup_pose_ros"
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [*sorted(ROOT.glob("[A-Z]*.md")), *DOCS]
README_LINES, README_WORDS = 200, 1500
ANIMATION_BYTES = 2 * 1024**2


def text_of(path):
    return path.read_text(encoding="utf-8")


def code_blocks(path, language=""):
    """Contents of the fenced blocks of a page, continued lines joined."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", text_of(path), flags=re.MULTILINE | re.DOTALL)
    return [block.replace("\\\n", " ") for block in blocks]


def commands(path, start):
    """Command lines in blocks and in inline code that call ``start``, without what comes before it."""
    lines = [line for block in code_blocks(path) for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", text_of(path))
    return [line[line.index(start) :] for line in lines if re.search(rf"(^|/|\s){start}\s", line)]


def test_readme_is_short():
    text = text_of(README)
    assert len(text.splitlines()) <= README_LINES
    assert len(text.split()) <= README_WORDS


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_to_files(page):
    targets = re.findall(r"\]\(([^)\s]+)\)", text_of(page))
    local = [target.split("#")[0] for target in targets if "://" not in target]
    # The badge of the workflow is relative to the repository's page on GitHub.
    files = [target for target in local if target and not target.startswith("../../actions/")]
    assert [target for target in files if not (page.parent / target).exists()] == []


def test_links_from_the_readme_lead_to_headings():
    for page, anchor in re.findall(r"\((docs/\w+\.md)#([\w-]+)\)", text_of(README)):
        headings = re.findall(r"^#+ (.+)$", text_of(ROOT / page), flags=re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
        assert anchor in slugs, page


def command_of(words):
    """The command of `iup-pose` that the words call, and the words behind its name."""
    command = typer.main.get_command(app)
    while words and hasattr(command, "commands") and words[0] in command.commands:
        command = command.commands[words[0]]
        words = words[1:]
    return command, words


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_and_their_options_exist(page):
    for line in commands(page, "iup-pose"):
        words = shlex.split(re.sub(r"[\[\]|]", " ", line), comments=True)[1:]
        command, rest = command_of(words)
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        if hasattr(command, "commands"):
            assert rest == [] or rest[0].startswith("--") or not rest[0].islower(), line
        assert {word for word in rest if word.startswith("--")} <= known, line


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_launch_files_and_their_arguments_exist(page):
    for line in commands(page, "ros2 launch iup_pose_ros"):
        _, _, _, name, *arguments = line.split()
        texts = text_of(ROOT / "launch" / name) + text_of(ROOT / "launch/vo.launch.py")
        for argument in arguments:
            key = argument.split(":=")[0]
            assert key.startswith("-") or key in PARAMETERS or f'"{key}"' in texts, line


def test_commands_are_found_at_all():
    assert sum(len(commands(page, "iup-pose")) for page in PAGES) >= 20
    assert sum(len(commands(page, "ros2 launch iup_pose_ros")) for page in PAGES) >= 6


def textured_pair():
    """Two grey images of 640x480 of a textured plane, the camera between them moved sideways."""
    rng = np.random.default_rng(5)
    coarse = np.kron(rng.uniform(0.0, 150.0, (60, 90)), np.ones((10, 10)))
    texture = cv2.GaussianBlur(coarse + rng.uniform(0.0, 100.0, coarse.shape), (5, 5), 1.0).astype(np.uint8)
    upper, lower = np.split(texture, [300])
    # Two depths: the upper half moves half as far as the lower one.
    second = np.vstack([np.roll(upper, -8, axis=1), np.roll(lower, -16, axis=1)])
    return texture[60:540, 100:740], second[60:540, 100:740]


@pytest.mark.parametrize("page", [README, ROOT / "docs/estimators.md"], ids=lambda path: path.name)
def test_python_examples_run(page, tmp_path, monkeypatch, capsys):
    (example,) = code_blocks(page, "python")
    assert len([line for line in example.splitlines() if line]) <= 8
    for name, image in zip(("0.png", "1.png"), textured_pair(), strict=True):
        cv2.imwrite(str(tmp_path / name), image)
    monkeypatch.chdir(tmp_path)
    variables: dict[str, Any] = {}
    exec(compile(example, str(page), "exec"), variables)  # noqa: S102 - the example is ours
    pose = variables["pose"]
    assert capsys.readouterr().out.strip()
    assert np.all(np.linalg.eigvalsh(pose.covariance) > 0.0)
    assert abs(pose.T_prev_curr.translation[0]) > 0.9


def test_modules_named_in_the_architecture_exist():
    """Given from the package's or the repository's root, or by their name alone, which is unique."""
    names = set(re.findall(r"`([a-z_/]+\.py)`", text_of(ROOT / "docs/architecture.md")))
    modules = [path.name for path in PACKAGE.rglob("*.py")]
    missing = [name for name in names if not ((PACKAGE / name).exists() or (ROOT / name).exists())]
    assert len(names) > 40
    assert [name for name in missing if modules.count(name) != 1] == []


def imports_of(part):
    """Parts of the package, folders or modules of its root, that a part imports."""
    found = set()
    for path in part.rglob("*.py") if part.is_dir() else [part]:
        for node in ast.walk(ast.parse(text_of(path))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("iup_pose_ros."):
                found.add(node.module.split(".")[1])
    return found - {part.stem}


def test_dependencies_point_downwards_as_the_architecture_says():
    block = next(block for block in code_blocks(ROOT / "docs/architecture.md") if block.startswith("cli"))
    layers = [re.split(r"  +", line)[0].split(", ") for line in block.splitlines()]
    level = {part: number for number, layer in enumerate(layers) for part in layer}
    parts = [path for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"]
    parts = [path for path in parts if not path.name.startswith("__")]
    assert {part.stem for part in parts} == set(level)
    upwards = {
        f"{part.stem} -> {other}"
        for part in parts
        for other in imports_of(part)
        if level[other] <= level[part.stem]
    }
    assert upwards == set()


def test_modules_of_the_network_are_listed_by_their_names():
    listed = set(re.findall(r"`([a-z_]+\.py)`", text_of(ROOT / "docs/estimators.md")))
    assert listed <= {path.name for path in (PACKAGE / "model").glob("*.py")}
    assert {"encoder.py", "alignment.py", "decoder.py", "view_fusion.py"} <= listed


def test_animation_is_small():
    assert 0 < (ROOT / "docs/images/demo.webp").stat().st_size <= ANIMATION_BYTES


def test_every_page_is_in_the_navigation():
    navigation = re.findall(r": (\w+\.md)$", text_of(ROOT / "mkdocs.yml"), flags=re.MULTILINE)
    assert sorted(navigation) == [page.name for page in DOCS]


def test_examples_of_python_are_valid():
    for page in PAGES:
        for block in code_blocks(page, "python"):
            ast.parse(block)
