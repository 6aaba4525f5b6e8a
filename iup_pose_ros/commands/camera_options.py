"""Options of how a recording's images and camera_info are read, for every command that reads them."""

from __future__ import annotations

from typing import Annotated

import typer

ImageIsRectified = Annotated[
    bool,
    typer.Option("--image-is-rectified", help="Images are undistorted already: P is used, D is ignored."),
]
RectifiedFov = Annotated[
    float, typer.Option(help="Field of view of rectified images, 20 to 140 deg; 0: the lens's, at most 100.")
]
AllowFrameMismatch = Annotated[
    bool,
    typer.Option(
        "--allow-frame-mismatch", help="Accept camera_info whose frame_id differs from that of the image."
    ),
]
Mono16Range = Annotated[
    str, typer.Option(help="Levels of 16-bit images that become black and white: low,high or auto.")
]
