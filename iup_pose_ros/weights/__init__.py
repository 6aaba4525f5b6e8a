"""The weights that travel with the package; the model card beside them tells what they are."""

from pathlib import Path

SHIPPED_WEIGHTS = Path(__file__).with_name("iup_pose_small.safetensors")
