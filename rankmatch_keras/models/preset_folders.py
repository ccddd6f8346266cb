"""Folders of keras-hub's presets, which come from elsewhere: what they hold is checked before it is loaded."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rankmatch_keras.errors import UserError
from rankmatch_keras.models.fixed_size import PYRAMIDS, TOKENS
from rankmatch_keras.models.hdf5 import require_own_values

RESNETS = ("ResNetBackbone",)
CLASSES = RESNETS + PYRAMIDS + TOKENS
CONFIG, CONVERTER = "config.json", "image_converter.json"
SHARDS = "model.weights.json"  # names the files of weights, wherever they are
LARGEST_FILE = 1 << 20  # bytes of a configuration
PACKAGES = ("keras", "keras_hub")


def is_folder(preset: str | Path) -> bool:
    """Return whether a preset is a local folder."""
    return (Path(preset) / CONFIG).is_file()


def require_safe(folder: str | Path) -> str:
    """Check that a folder holds a backbone of keras-hub, and objects of Keras and keras-hub alone.

    Returns:
        The name of the backbone's class.

    Raises:
        UserError: it holds something else, code, or weights that lie elsewhere.
    """
    folder = Path(folder)
    config = _read(folder / CONFIG)
    name = config.get("class_name")
    if name not in CLASSES or config.get("registered_name") != f"keras_hub>{name}":
        raise UserError(
            f"a preset of {', '.join(CLASSES)}",
            f"{str(name)[:80]!r} in {folder / CONFIG}",
            "Give a folder that save_to_preset of such a backbone wrote.",
        )
    for part in (folder / CONFIG, folder / CONVERTER):
        if part.exists():
            _require_own_classes(_read(part), part)
    if (folder / SHARDS).exists():
        raise UserError("weights in one file", f"{SHARDS} in {folder}", "Load them in Python and save them again.")
    for file in folder.glob("*.h5"):
        require_own_values(file)
    return name


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ValueError("it is larger than 1 MiB")
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("it is no mapping")
        return config
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError("the configuration of a preset", f"{path} ({reason})", "Copy the folder again.") from error


def _require_own_classes(config: dict[str, Any], path: Path) -> None:
    for part in _mappings(config):
        kind, module = part.get("class_name"), part.get("module")
        foreign = isinstance(module, str) and module.partition(".")[0] not in PACKAGES
        if kind in ("Lambda", "__lambda__") or foreign or not isinstance(module, str | None):
            found = f"{str(kind)[:80]!r} of {str(module)[:80]!r} in {path}"
            raise UserError("objects of Keras and keras-hub alone", found, "Do not use this preset.")


def _mappings(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _mappings(part)
