"""Agents on the image, and the pixels that each represents (cf. Figure 5 of the RankMatch article)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rankmatch_keras.evaluation.colors import to_display
from rankmatch_keras.evaluation.overlays import overlay
from rankmatch_keras.evaluation.plots import class_legend, draw_sheet
from rankmatch_keras.figures.predictions import Picture, thinning

PERCENTILES = (2, 98)
MAPS = 5  # agents whose activation is shown
CANDIDATES = 24  # agents that those are chosen from
AGENT, CROSS = "#ff2fb3", "#ffe100"


@dataclass(frozen=True)
class Agents:
    """The agents of one image.

    Attributes:
        places: int (N, 2), image pixels (y, x), in the order of selection.
        maps: float (M, H, W) in 0..1: activation of the image's pixels by agent.
        shown: int (M,), the agents of the maps.
    """

    places: np.ndarray
    maps: np.ndarray
    shown: np.ndarray


def find_agents(features: np.ndarray, stride: int, size: tuple[int, int], num_agents: int) -> Agents:
    """Select agents as the rank loss does, and map the similarity of all pixels to them.

    A map is the dot product of all pixels with one agent (Eq. 4 before its softmax), from its 2nd to its 98th
    percentile, since a few pixels at the border are often outliers. The first agent is the center pixel instead of a
    random one. The agents shown are the most similar one of many pixels, with maps as different as possible.

    Args:
        features: float (h, w, D), see `models.feature_model`.
        stride: image pixels per feature pixel.
        size: height and width of the image; features beyond it, on the padding, are left out.
        num_agents: N; a grid with fewer pixels gives all of them.
    """
    from rankmatch_keras.layers import OrthogonalAgents

    rows, columns = (-(-side // stride) for side in size)
    features = features[:rows, :columns]
    rows, columns, _ = features.shape
    middle = np.array([rows // 2 * columns + columns // 2], np.int32)
    indices = np.asarray(_numpy(OrthogonalAgents(num_agents)(features[None], middle)))[0]  # (N,)
    pixels = features.reshape(-1, features.shape[-1])
    scores = pixels @ pixels[indices].T  # (h * w, N)
    shown = _representative(scores)
    maps = np.stack([_at_image_size(scores[:, n].reshape(rows, columns), stride, size) for n in shown])
    return Agents(np.stack([indices // columns, indices % columns], -1) * stride, maps, shown)


def save_agents(
    path: Path, pictures: Sequence[Picture], agents: Sequence[Agents], class_names: Sequence[str], palette: Any = None
) -> None:
    """Write a PNG with a row per image: all agents on the image, the truth, and the activation by single agents.

    Args:
        path: file to write.
        pictures: the images.
        agents: the agents of each image.
        class_names: names of the classes.
        palette: (n, 3) in 0..255; None: the default colors.
    """
    rows, steps = [], [thinning(picture.image) for picture in pictures]
    for picture, found, step in zip(pictures, agents, steps, strict=True):
        image = to_display(picture.image[::step, ::step])
        truth = overlay(image, picture.truth[::step, ::step], palette)
        rows.append([image, truth, *(heat(image, one[::step, ::step]) for one in found.maps)])

    def decorate(axes, row, column):
        found, step = agents[row], steps[row]
        if column == 0:
            axes.scatter(found.places[:, 1] / step, found.places[:, 0] / step, s=9, color=AGENT, edgecolor="w", lw=0.4)
        elif column > 1:
            y, x = found.places[found.shown[column - 2]] / step
            axes.plot(x, y, "x", color=CROSS, markersize=9, markeredgewidth=2.4)

    seen = sorted({int(k) for picture in pictures for k in np.unique(picture.truth)})
    count = min(len(found.maps) for found in agents)
    rows = [row[: 2 + count] for row in rows]
    titles = [f"{len(agents[0].places)} agents", "Truth", *(f"Activation {n}" for n in range(1, count + 1))]
    draw_sheet(path, rows, titles, class_legend(seen, class_names, palette), decorate)


def heat(image: np.ndarray, activation: np.ndarray) -> np.ndarray:
    """Blend an activation map over the grayed image, blue to red.

    Args:
        image: uint8 (H, W, 3).
        activation: float (H, W) in 0..1.

    Returns:
        uint8 (H, W, 3).
    """
    from matplotlib import colormaps

    colors = 255 * colormaps["jet"](activation)[..., :3]
    gray = image.mean(-1, keepdims=True)
    return np.round(0.35 * gray + 0.65 * colors).astype(np.uint8)


def _representative(scores):
    """Choose the agents to show from the scores (h * w, N): int (M,), the one with most followers first."""
    followers = np.bincount(scores.argmax(1), minlength=scores.shape[1])
    candidates = np.argsort(-followers, kind="stable")[:CANDIDATES]
    maps = scores[:, candidates] - scores[:, candidates].mean(0)
    maps /= np.maximum(np.linalg.norm(maps, axis=0), np.finfo(np.float32).tiny)
    alike = maps.T @ maps  # (C, C), correlation of maps
    chosen = [0]
    while len(chosen) < min(MAPS, len(candidates)):
        largest = alike[:, chosen].max(1)
        largest[chosen] = np.inf
        chosen.append(int(largest.argmin()))
    return candidates[chosen]


def _at_image_size(grid, stride, size):
    """Resize (h, w) on every stride-th image pixel to (H, W) in 0..1, bilinear; edge values extend beyond the grid."""
    rows, columns = (np.minimum(np.arange(side) / stride, n - 1) for side, n in zip(size, grid.shape, strict=True))
    low, high = np.percentile(grid, PERCENTILES)
    grid = np.clip((grid - low) / max(high - low, np.finfo(np.float32).tiny), 0, 1)
    along = np.stack([np.interp(rows, np.arange(len(grid)), column) for column in grid.T], -1)  # (H, w)
    return np.stack([np.interp(columns, np.arange(grid.shape[1]), row) for row in along])


def _numpy(tensor):
    import keras

    return keras.ops.convert_to_numpy(tensor)
