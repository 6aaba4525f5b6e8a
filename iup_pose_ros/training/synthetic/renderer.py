"""Off-screen OpenGL rendering of image and depth of textured meshes, on a GPU or on the CPU (llvmpipe).

A pixel is the mean of several samples. The inverse depth of a plane is linear in the pixel, so that its mean
over the samples around the pixel centre is exact.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.errors import DataError, IupPoseError
from iup_pose_ros.training.synthetic.mesh import Mesh
from iup_pose_ros.training.synthetic.shaders import FRAGMENT, SKY_FRAGMENT, SKY_VERTEX, VERTEX

NEAR = 0.04  # distance of the near plane, metres
UNKNOWN = 0.0  # depth of moving objects, which have no ground truth
_EDGE = 1.5  # depth ratio above which the samples of a pixel belong to different surfaces
_ANISOTROPY_ON_GPU = 8.0  # on the CPU, anisotropic filtering would dominate the run time
_VERTEX_LAYOUT = "3f 2f 2f 3f1 1i1"


class RendererError(IupPoseError):
    """OpenGL is not available on this machine; the message names what to install."""


@dataclass(frozen=True, eq=False)
class View:
    """A rendered view; pixel (0, 0) is the centre of the top-left pixel.

    Attributes:
        colour: (H, W, 3) uint8 RGB.
        depth: (H, W) float32, depth at the pixel centre along the optical axis, metres; infinite: sky, 0
            (``UNKNOWN``): distractor.
    """

    colour: NDArray[np.uint8]
    depth: NDArray[np.float32]


class Loaded:
    """Resources in the memory of the renderer that created them."""

    def __init__(self, context: Any, resources: list[Any]) -> None:
        self._context, self._resources = context, resources

    def release(self) -> None:
        """Free the memory; the object cannot be rendered afterwards."""
        with self._context:
            for resource in self._resources:
                resource.release()
        self._resources = []


class LoadedMesh(Loaded):
    """A mesh with its vertices and textures in the memory of a renderer."""

    def __init__(
        self, context: Any, resources: list[Any], mesh: Mesh, array: Any, textures: Any, lightmap: Any
    ) -> None:
        super().__init__(context, resources)
        self.mesh, self.array, self.textures, self.lightmap = mesh, array, textures, lightmap


class LoadedSky(Loaded):
    """The cube map of a sky in the memory of a renderer."""

    def __init__(self, context: Any, cube: Any) -> None:
        super().__init__(context, [cube])
        self.cube = cube


class Renderer:
    """Renderer with its own OpenGL context, to be used in the thread and process that created it.

    Several renderers may exist; each makes its context current while it renders.

    Args:
        supersampling: number of samples per pixel along each axis.

    Raises:
        RendererError: off-screen OpenGL 3.3 is not available.
    """

    def __init__(self, supersampling: int = 2) -> None:
        self._samples = supersampling
        self._context = create_context()
        with self._context:
            software = any(name in self.device.lower() for name in ("llvmpipe", "softpipe", "swrast"))
            self._anisotropy = 1.0 if software else _ANISOTROPY_ON_GPU
            self._surfaces = self._context.program(vertex_shader=VERTEX, fragment_shader=FRAGMENT)
            self._surfaces["textures"], self._surfaces["lightmap"] = 0, 1
            self._sky = self._context.program(vertex_shader=SKY_VERTEX, fragment_shader=SKY_FRAGMENT)
            self._sky_array = self._context.vertex_array(self._sky, [])
        self._framebuffer = functools.cache(self._new_framebuffer)

    @property
    def device(self) -> str:
        """Return the name of the OpenGL device as reported by the driver."""
        return str(self._context.info["GL_RENDERER"])

    def close(self) -> None:
        """Release the OpenGL context; the renderer cannot be used afterwards."""
        self._framebuffer.cache_clear()
        self._context.release()

    def load(self, mesh: Mesh, textures_of: LoadedMesh | None = None) -> LoadedMesh:
        """Copy a mesh to the memory of the renderer.

        Args:
            mesh: mesh to copy.
            textures_of: loaded mesh with the same textures, which are then shared.
        """
        with self._context:
            if textures_of is None:
                count, size = mesh.textures.shape[:2]
                textures = self._context.texture_array((size, size, count), 3, mesh.textures, alignment=1)
                textures.build_mipmaps()
                textures.filter = (self._context.LINEAR_MIPMAP_LINEAR, self._context.LINEAR)
                textures.repeat_x = textures.repeat_y = not mesh.mirrored
                textures.anisotropy = self._anisotropy
            else:
                textures = textures_of.textures
            height, width = mesh.lightmap.shape[:2]
            lightmap = self._context.texture((width, height), 3, mesh.lightmap, alignment=1)
            lightmap.repeat_x = lightmap.repeat_y = False
            vertices, indices = self._context.buffer(mesh.vertices), self._context.buffer(mesh.indices)
            names = mesh.vertices.dtype.names or ()
            array = self._context.vertex_array(self._surfaces, [(vertices, _VERTEX_LAYOUT, *names)], indices)
        own = [array, vertices, indices, lightmap] + ([textures] if textures_of is None else [])
        return LoadedMesh(self._context, own, mesh, array, textures, lightmap)

    def load_sky(self, faces: NDArray[np.uint8]) -> LoadedSky:
        """Copy a sky to the memory of the renderer: cube map (6, S, S, 3) in OpenGL's order of faces."""
        with self._context:
            cube = self._context.texture_cube((faces.shape[1], faces.shape[2]), 3, faces, alignment=1)
            cube.filter = (self._context.LINEAR, self._context.LINEAR)
        return LoadedSky(self._context, cube)

    def render(
        self,
        meshes: list[LoadedMesh],
        K: NDArray[np.float64],
        T_world_camera: NDArray[np.float64],
        width: int,
        height: int,
        gain: float = 1.0,
        sky: LoadedSky | None = None,
        sky_gain: float = 1.0,
        distractors: LoadedMesh | None = None,
        supersampling: int | None = None,
    ) -> View:
        """Render a view.

        Args:
            meshes: meshes to render.
            K: (3, 3) camera matrix in pixels; skew is ignored.
            T_world_camera: (4, 4) pose of the optical frame (x right, y down, z forward).
            width, height: image size in pixels.
            gain: exposure: factor on the light of the meshes.
            sky: background; default: black.
            sky_gain: factor on the light of the sky.
            distractors: mesh of moving objects, whose depth is ``UNKNOWN``.
            supersampling: number of samples per pixel along each axis; default: that of the renderer.
        """
        samples = supersampling or self._samples
        clip = clip_from_camera(K, width, height) @ np.linalg.inv(T_world_camera)
        with self._context:
            framebuffer = self._framebuffer(width * samples, height * samples)
            framebuffer.use()
            framebuffer.clear()
            self._context.enable_only(self._context.DEPTH_TEST)
            self._context.depth_func = "<="
            self._surfaces["clip_from_world"].write(clip.T.astype("f4").tobytes())
            self._surfaces["gain"] = gain
            for mesh in meshes:
                self._draw(mesh, clip, T_world_camera[:3, 3], known=True)
            if distractors is not None:
                self._draw(distractors, clip, T_world_camera[:3, 3], known=False)
            if sky is not None:
                self._draw_sky(sky, K, T_world_camera, (width, height), sky_gain)
            return self._read(framebuffer, samples)

    def _draw(
        self, loaded: LoadedMesh, clip: NDArray[np.float64], centre: NDArray[np.float64], known: bool
    ) -> None:
        loaded.textures.use(0)
        loaded.lightmap.use(1)
        self._surfaces["mirrored"] = loaded.mesh.mirrored
        self._surfaces["sign"] = 1.0 if known else -1.0
        mesh = loaded.mesh
        for chunk in mesh.visible_chunks(clip, centre.astype(np.float32)):
            loaded.array.render(vertices=int(mesh.chunk_count[chunk]), first=int(mesh.chunk_first[chunk]))

    def _draw_sky(
        self,
        sky: LoadedSky,
        K: NDArray[np.float64],
        T_world_camera: NDArray[np.float64],
        size: tuple[int, int],
        gain: float,
    ) -> None:
        """Draw the sky on a triangle that covers the image; viewing rays are linear in the pixel."""
        width, height = size
        x, y = np.array([-0.5, 2.0 * width - 0.5, -0.5]), np.array([-0.5, -0.5, 2.0 * height - 0.5])
        rays = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones(3)], axis=1)
        self._sky["rays"].write((rays @ T_world_camera[:3, :3].T).astype("f4").tobytes())
        self._sky["gain"] = gain
        sky.cube.use(0)
        self._sky_array.render(mode=self._context.TRIANGLES, vertices=3)

    def _new_framebuffer(self, width: int, height: int) -> Any:
        colour = self._context.texture((width, height), 4)
        inverse_depth = self._context.texture((width, height), 1, dtype="f4")
        return self._context.framebuffer(
            [colour, inverse_depth], self._context.depth_renderbuffer((width, height))
        )

    def _read(self, framebuffer: Any, samples: int) -> View:
        width, height = framebuffer.size
        colour = np.frombuffer(framebuffer.read(components=4, attachment=0), np.uint8).reshape(
            height, width, 4
        )
        inverse = np.frombuffer(framebuffer.read(components=1, attachment=1, dtype="f4"), np.float32)
        size = (width // samples, height // samples)
        if samples > 1:
            colour = np.asarray(cv2.resize(colour, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        depth = depth_at_centres(inverse.reshape(height, width), samples)
        return View(np.ascontiguousarray(colour[..., :3]), depth)


def clip_from_camera(K: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
    """Return the projection matrix (4, 4) of an optical frame, without far plane, with the top row at y = -1.

    OpenGL returns images from y = -1 upwards, so that they are upright with the top row at y = -1.
    """
    return np.array(
        [
            [2.0 * K[0, 0] / width, 0.0, (2.0 * K[0, 2] + 1.0) / width - 1.0, 0.0],
            [0.0, 2.0 * K[1, 1] / height, (2.0 * K[1, 2] + 1.0) / height - 1.0, 0.0],
            [0.0, 0.0, 1.0, -2.0 * NEAR],
            [0.0, 0.0, 1.0, 0.0],
        ]
    )


def depth_at_centres(inverse: NDArray[np.float32], samples: int) -> NDArray[np.float32]:
    """Compute the depth (H, W) at pixel centres.

    Args:
        inverse: (H samples, W samples) inverse depth, 1/m; negative: unknown.
        samples: number of samples per pixel along each axis.
    """
    height, width = (size // samples for size in inverse.shape)
    low, high = (samples - 1) // 2, samples // 2
    blocks = inverse.reshape(height, samples, width, samples)
    corners = np.stack([blocks[:, i, :, j] for i in (low, high) for j in (low, high)])
    nearest, furthest = corners.max(axis=0), corners.min(axis=0)
    at_centre = np.where(nearest > _EDGE * furthest, nearest, corners.mean(axis=0))
    with np.errstate(divide="ignore"):
        depth = np.float32(1.0) / at_centre
    return np.where(furthest < 0.0, np.float32(UNKNOWN), depth).astype(np.float32)


def create_context() -> Any:
    """Create an off-screen OpenGL context.

    Raises:
        RendererError: moderngl is not installed, or OpenGL 3.3 is not available.
    """
    try:
        import moderngl
    except ImportError as error:
        raise RendererError(
            "rendering needs the Python package moderngl: pip install -r requirements/training.txt"
        ) from error
    libraries: dict[str, Any] = {"backend": "egl", "libgl": "libGL.so.1", "libegl": "libEGL.so.1"}
    try:
        return moderngl.create_context(require=330, standalone=True, **libraries)
    except Exception as error:  # moderngl raises nothing more specific
        raise RendererError(
            f"off-screen OpenGL 3.3 is not available ({error}). On a machine without GPU, install Mesa: "
            "apt-get install libegl1 libgl1 libgl1-mesa-dri; otherwise the EGL library of the GPU's driver"
        ) from error


def check_size(width: int, height: int) -> None:
    """Raise DataError if an image is smaller than 8 x 8 pixels."""
    if min(width, height) < 8:
        raise DataError(f"an image of {width}x{height} pixels cannot be rendered; the minimum is 8x8")
