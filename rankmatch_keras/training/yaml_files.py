"""YAML files that a person writes: read with a safe loader, of limited size, each key once."""

from pathlib import Path
from typing import Any

import yaml

from rankmatch_keras.errors import UserError

LARGEST_FILE = 1 << 20  # bytes


class _KeysOnce:
    """Loader that refuses a key given twice, of which YAML would drop the first."""

    def construct_mapping(self, node, deep=False):
        """Make a mapping; keys must differ."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]  # type: ignore[attr-defined]
        seen = set()
        for key in keys:
            if key in seen:
                raise yaml.YAMLError(f"{key} is given twice")
            seen.add(key)
        return super().construct_mapping(node, deep)  # type: ignore[misc]


class _Values(_KeysOnce, yaml.SafeLoader):
    """Loader of numbers, texts and so on."""


class _Texts(_KeysOnce, yaml.BaseLoader):
    """Loader that takes every value as text: a class may be called `on`, or 1."""


def read_mapping(path: Path, what: str, form: str, example: str, texts: bool = False) -> dict[str, Any]:
    """Read a YAML file whose content is a mapping.

    Args:
        path: the file.
        what: what it should be, such as "a configuration file".
        form: what its content should be, such as "`option: value` lines".
        example: a remedy where it is something else.
        texts: whether values and keys are taken as text.

    Raises:
        UserError: it cannot be read, is larger than 1 MiB, gives a key twice, or is no mapping.
    """
    try:
        with Path(path).open("rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise UserError(f"{what} of at most 1 MiB", f"a larger one in {path}", example)
        values = yaml.load(content, _Texts if texts else _Values)  # both are safe
    except (OSError, yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{what} in YAML", f"{path}, which cannot be read ({reason})", "Mend it.") from None
    if not isinstance(values, dict):
        found = f"{type(values).__name__} in {path}" if values is not None else f"nothing in {path}"
        raise UserError(f"{what} of {form}", found, example)
    return values
