"""An augmentation of one's own: a Python function in a file that the person names."""

import functools
import hashlib
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.data.readers.guards import MAX_PIXELS
from rankmatch_keras.data.sets.samples import Sample
from rankmatch_keras.errors import UserError, did_you_mean

STREAM = 4  # key of its random numbers, see `sampling`
LARGEST_FILE = 1 << 20  # bytes
SIGNATURE = "def augment(image, mask, rng): return image, mask"


@dataclass(frozen=True)
class OwnAugmentation:
    """A person's function, called with each image before the built-in views; small enough to be sent to workers.

    Attributes:
        file: the Python file.
        function: its name there.
        sha256: of the file's bytes: no other code is ever run in its place.
        num_classes: number of classes K of the masks, or `None` where any id below 255 may be.
    """

    file: Path
    function: str
    sha256: str
    num_classes: int | None = None

    def __str__(self) -> str:
        return f"{self.function} of {self.file} (sha256 {self.sha256[:12]})"

    def __call__(
        self, image: np.ndarray, mask: np.ndarray | None, seed: int, labeled: bool, number: int
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Augment an image; a function of the arguments alone if the person's is.

        Args:
            image: (H, W, C), uint8 or float32; NaN where it has no data.
            mask: int32 (H, W), class ids and 255 for pixels to ignore; `None` for an image without.
            seed: of the run.
            labeled: whether it is one of the labeled images.
            number: of the example in its stream.

        Returns:
            Image and mask of any size, of the same kind as before.

        Raises:
            UserError: the function fails, or returns something else; its name is in the message.
        """
        function = _load(self.file, self.function, self.sha256)
        rng = np.random.default_rng((seed, STREAM, int(labeled), number))
        try:
            found = function(image.copy(), None if mask is None else mask.copy(), rng)
        except (Exception, SystemExit) as error:  # of any type: it is not our code
            raise self._wrong("a pair of image and mask", f"{type(error).__name__}: {error}") from error
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise self._wrong("a pair of image and mask", type(found).__name__)
        self._check_image(found[0], image)
        self._check_mask(found[1], mask, found[0].shape[:2])
        return np.ascontiguousarray(found[0]), None if mask is None else np.ascontiguousarray(found[1], np.int32)

    def _check_image(self, found: Any, image: np.ndarray) -> None:
        expected = f"an image (height, width, {image.shape[-1]}) of {image.dtype}"
        if not isinstance(found, np.ndarray) or found.ndim != 3:
            raise self._wrong(expected, _kind(found))
        if found.shape[-1] != image.shape[-1] or found.dtype != image.dtype or 0 in found.shape:
            raise self._wrong(expected, _kind(found))
        if found.shape[0] * found.shape[1] > MAX_PIXELS:
            raise self._wrong(f"an image of at most {MAX_PIXELS // 10**6} megapixels", _kind(found))
        if image.dtype.kind == "f" and not np.isfinite(found).all() and np.isfinite(image).all():
            raise self._wrong("finite numbers, as in the image that it got", "NaN or infinite ones")

    def _check_mask(self, found: Any, mask: np.ndarray | None, size: tuple[int, ...]) -> None:
        if mask is None or found is None:
            if mask is not found:
                raise self._wrong("no mask where none is given, and one where one is", _kind(found))
            return
        if not isinstance(found, np.ndarray) or found.dtype.kind not in "iu" or found.shape != size:
            raise self._wrong(f"a mask {size} of whole numbers", _kind(found))
        most = IGNORE_INDEX if self.num_classes is None else self.num_classes - 1
        wrong = found[((found < 0) | (found > most)) & (found != IGNORE_INDEX)]
        if wrong.size:
            raise self._wrong(f"a mask of class ids from 0 to {most}, or {IGNORE_INDEX}", f"{wrong.flat[0]}")

    def _wrong(self, expected: str, found: str) -> UserError:
        place = f"--augment {self.file.name}:{self.function}"
        return UserError(f"{expected} from {place}", f"{' '.join(found.split())[:200]}", f"Correct it: {SIGNATURE}.")

    def try_on(self, sample: Sample) -> None:
        """Call the function once, so that its mistakes are found before anything slow starts."""
        self(sample.read_image(), None if sample.mask is None else sample.read_mask(), 0, True, 0)

    def record(self) -> dict[str, str]:
        """Return what a run's record says of it."""
        return {"file": str(self.file), "function": self.function, "sha256": self.sha256}


def read_augmentation(text: str, num_classes: int | None = None) -> OwnAugmentation:
    """Read `FILE.py:NAME`; the file's code runs at once.

    Args:
        text: path of a Python file, and the name of a function in it.
        num_classes: see `OwnAugmentation`.

    Raises:
        UserError: there is no such file or function, or the file fails.
    """
    file, _, function = text.rpartition(":")
    path = Path(file)
    if path.suffix != ".py" or not function.isidentifier():
        raise UserError("FILE.py:NAME as --augment", repr(text)[:200], "Name a Python file and a function in it.")
    found = OwnAugmentation(path.resolve(), function, sha256_of(path), num_classes)
    _load(found.file, found.function, found.sha256)
    return found


def sha256_of(file: Path) -> str:
    """Return the hash of a Python file.

    Raises:
        UserError: it cannot be read, or is larger than 1 MiB.
    """
    return hashlib.sha256(_read(file)).hexdigest()


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError("the Python file of --augment", f"none at {file} ({reason})", "Check the path.") from error
    if len(content) > LARGEST_FILE:
        raise UserError("a Python file of at most 1 MiB", f"a larger one at {file}", "Name the right file.")
    return content


@functools.cache
def _load(file: Path, function: str, sha256: str) -> Callable[..., Any]:
    """Run the file as a module, once in each process."""
    content = _read(file)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError("the file of --augment as the run began", f"another {file}", "Change it between runs only.")
    module = types.ModuleType(f"augmentation_{sha256[:12]}")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module  # where dataclasses and pickle look
    try:
        exec(compile(content, file, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError("a Python file that runs", f"{reason} in {file}", "Mend it.") from error
    found = getattr(module, function, None)
    if not callable(found):
        names = [name for name, value in vars(module).items() if isinstance(value, types.FunctionType)]
        remedy = did_you_mean(function, names, otherwise=f"Define it: {SIGNATURE}.")
        raise UserError("the function of --augment", f"no {function} in {file}", remedy)
    return found


def _kind(found: Any) -> str:
    return f"{found.shape} of {found.dtype}" if isinstance(found, np.ndarray) else type(found).__name__
