"""Masks of another size than their images."""

import numpy as np

from rankmatch_keras.errors import UserError

# The sides of a mask may be rounded to whole pixels, or differ by this part, and the picture is still the same.
_ROUNDING = 1.0
_TOLERANCE = 0.02


def resized(ids: np.ndarray, size: tuple[int, int], mask: object, image: object) -> np.ndarray:
    """Resize a mask to the size of its image, by nearest neighbors.

    Args:
        ids: int32 (H, W) of class ids.
        size: height and width of the image.
        mask: the mask's name in messages.
        image: the image's name in messages.

    Raises:
        UserError: the two have different forms, so that one cannot be the other's.
    """
    if ids.shape == size:
        return ids
    if not _same_form(ids.shape, size):
        raise wrong_size(ids.shape, size, mask, image)
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.intp) for old, new in zip(ids.shape, size, strict=True)
    )
    return ids[rows[:, None], columns]


def wrong_size(found: tuple[int, ...], size: tuple[int, ...], mask: object, image: object) -> UserError:
    """Return the error for a mask of another size than its image; see `resized`."""
    similar = _same_form(found, size)
    return UserError(
        f"a mask as large as its image ({size[1]} x {size[0]})",
        f"{found[1]} x {found[0]} in '{mask}'",
        f"Export it as large as '{image}', or resize masks with --resize-masks."
        if similar
        else f"Its height and width have another ratio than those of '{image}': is it the mask of another image?",
    )


def _same_form(found: tuple[int, ...], size: tuple[int, ...]) -> bool:
    """Return whether height and width have the same ratio, but for rounding."""
    expected = found[0] * size[1] / size[0]
    return min(found) > 0 and abs(found[1] - expected) <= max(_ROUNDING, _TOLERANCE * expected)
