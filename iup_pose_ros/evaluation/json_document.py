"""Writing of JSON files with metrics."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iup_pose_ros.errors import DataError


def json_value(value: Any) -> Any:
    """Replace NaN and infinity, which JSON does not have, by None; recurse into mappings."""
    if isinstance(value, Mapping):
        return {key: json_value(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document, all of whose numbers are finite, as indented JSON.

    Raises:
        DataError: the file cannot be written.
    """
    try:
        path.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as failure:
        raise DataError(f"cannot write {path}: {failure.strerror}") from failure
