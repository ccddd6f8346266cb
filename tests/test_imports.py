"""The import rule: imports point one way, and importing the package stays light."""

import ast
import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = CHECKOUT / "rankmatch_keras"
FRAMEWORKS = {"tensorflow", "torch", "jax"}

# Rooms by floor: a room may import itself and the rooms on the floors before its own.
FLOORS = (
    ("backend",),
    ("layers",),
    ("losses",),
    ("models", "data"),
    ("methods",),
    ("evaluation",),
    ("check",),
    ("training",),
    ("comparison", "figures", "prediction"),
    ("report", "suggestion"),
    ("cli",),
)
# Libraries that each room may import.
OUTSIDE = {
    "backend": {"keras", "numpy"},
    "layers": {"keras", "numpy"},
    "losses": {"keras", "numpy"},
    "models": {"keras", "numpy", "keras_cv", "keras_hub", "h5py"},
    "data": {"keras", "numpy", "PIL", "pycocotools", "pydantic", "tifffile", "scipy"},
    "methods": {"keras", "numpy"},
    "evaluation": {"keras", "numpy", "PIL", "matplotlib", "scipy", "pydantic"},
    "check": {"numpy", "PIL", "matplotlib"},
    "training": {"keras", "numpy", "pydantic", "typing_extensions", "annotated_types", "yaml"},
    "comparison": {"numpy", "matplotlib", "scipy", "pydantic", "typing_extensions"},
    "figures": {"keras", "numpy", "matplotlib", "scipy"},
    "prediction": {"keras", "numpy", "PIL", "contourpy", "pycocotools", "pydantic", "scipy", "tifffile"},
    "report": {"numpy", "PIL", "jinja2"},
    "suggestion": {"numpy", "PIL", "scipy", "tifffile"},
    "cli": {"keras", "numpy", "PIL", "click"},
}
INSIDE = {room: {room}.union(*FLOORS[:number]) for number, rooms in enumerate(FLOORS) for room in rooms}
# What single files may import beside that: TensorFlow and its protobuf read a SavedModel, and runtimes run exported
# networks, inside functions; the other files are the input pipeline of tf.data, and the function that names its type.
ALSO = {
    os.path.join("models", "export_facts.py"): {"onnx"},
    os.path.join("models", "exported.py"): {"onnxruntime", "ai_edge_litert", "tensorflow", "torch"},
    os.path.join("models", "keras_2", "files.py"): {"tensorflow", "google"},
    os.path.join("data", "readers", "nifti.py"): {"nibabel"},
    os.path.join("data", "readers", "videos.py"): {"imageio_ffmpeg"},
    os.path.join("prediction", "joined.py"): {"imageio_ffmpeg"},
    os.path.join("data", "batches", "tf_data.py"): {"tensorflow"},
    os.path.join("data", "batches", "training_batches.py"): {"tensorflow"},
    os.path.join("data", "views", "sampling_tensorflow.py"): {"tensorflow"},
    os.path.join("data", "views", "strong_keras_cv.py"): {"tensorflow", "keras_cv"},
    os.path.join("data", "views", "weak_tensorflow.py"): {"tensorflow"},
}
# Modules beside the rooms that everyone may import, as they import nothing but the standard library and each other.
COMMON = {"errors", "files", "environment", "texts"}
# Constants of the package itself.
CONSTANTS = {"IGNORE_INDEX", "__version__"}

SOURCES = sorted(PACKAGE.rglob("*.py"))
RULED = [path for path in SOURCES if path.parent != PACKAGE]


def name_of(path):
    return str(path.relative_to(PACKAGE))


def imported_modules(tree):
    """Every module that an `import` statement anywhere in the file names, type checking and functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name comes from"
            if node.module == "rankmatch_keras":
                yield from (f"rankmatch_keras.{alias.name}" for alias in node.names)
            else:
                yield node.module


def frameworks_of(path):
    """The frameworks that a file may import: each folder of `backend` its own."""
    if path.parent.parent == PACKAGE / "backend":
        return {path.parent.name} & FRAMEWORKS
    return ALSO.get(name_of(path), set())


def test_every_folder_has_a_rule():
    folders = {path.relative_to(PACKAGE).parts[0] for path in RULED}
    assert folders == set(OUTSIDE) == set(INSIDE)


@pytest.mark.parametrize("path", RULED, ids=name_of)
def test_imports_point_one_way(path):
    folder = path.relative_to(PACKAGE).parts[0]
    for module in imported_modules(ast.parse(path.read_text())):
        top, _, rest = module.partition(".")
        if top == "rankmatch_keras":
            allowed = rest.partition(".")[0] in COMMON | CONSTANTS or any(
                f"{rest}.".startswith(f"{place}.") for place in INSIDE[folder]
            )
            assert allowed, f"{folder} must not import {module}"
        elif top not in sys.stdlib_module_names:
            libraries = OUTSIDE[folder] | frameworks_of(path)
            assert top in libraries, f"{folder} must not import {module}"


@pytest.mark.parametrize("name", sorted(COMMON))
def test_common_modules_need_only_the_standard_library(name):
    modules = set(imported_modules(ast.parse((PACKAGE / f"{name}.py").read_text())))
    others = modules - {f"rankmatch_keras.{module}" for module in COMMON}
    assert {module.partition(".")[0] for module in others} <= sys.stdlib_module_names


@pytest.mark.parametrize("path", [p for p in SOURCES if PACKAGE / "backend" not in p.parents], ids=name_of)
def test_only_the_backend_room_asks_which_backend_runs(path):
    comparisons = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Compare)]
    asked = [node.lineno for node in comparisons if "backend()" in ast.unparse(node)]
    assert not asked, f"lines {asked}"


@pytest.mark.parametrize("framework", sorted(FRAMEWORKS))
def test_frameworks_do_not_import_each_other(framework):
    for path in (PACKAGE / "backend" / framework).glob("*.py"):
        for module in imported_modules(ast.parse(path.read_text())):
            other = module.removeprefix("rankmatch_keras.backend.").partition(".")[0]
            assert other not in FRAMEWORKS - {framework}, f"{name_of(path)} imports {module}"


@pytest.mark.parametrize("folder", ["backend", "layers", "losses", "methods"])
def test_imports_are_plain(folder):
    """No module is imported by a name that is put together."""
    for path in (PACKAGE / folder).rglob("*.py"):
        assert not {"importlib", "__import__"} & {*path.read_text().replace("(", " ").split()}, name_of(path)


def modules_after(statement, backend):
    """Top names of `sys.modules` after a statement in a fresh interpreter."""
    script = f"import sys; {statement}; print('MODULES', *sorted({{m.partition('.')[0] for m in sys.modules}}))"
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.rpartition("MODULES")[2].split())


def test_importing_the_package_imports_no_framework():
    modules = modules_after("import rankmatch_keras", "torch")
    assert "rankmatch_keras" in modules
    assert not modules & {*FRAMEWORKS, "keras", "keras_cv"}


@pytest.mark.once
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
def test_on_torch_neither_tensorflow_nor_keras_cv_is_imported():
    folders = ", ".join(f"rankmatch_keras.{name}" for name in ("layers", "losses", "methods", "models"))
    registered = "all(map(keras.saving.get_registered_object, ('rankmatch_keras>PadToGrid', 'rankmatch_keras>SGD')))"
    statement = f"import keras, rankmatch_keras; assert {registered}; import {folders}; rankmatch_keras.RankMatch"
    modules = modules_after(statement, "torch")
    assert "torch" in modules
    # (Keras itself imports jax where it finds it.)
    assert not modules & {"tensorflow", "keras_cv"}


def test_public_names_resolve():
    import rankmatch_keras

    assert set(rankmatch_keras.__all__) <= set(dir(rankmatch_keras))
    assert [getattr(rankmatch_keras, name) for name in ("RankMatch", "UniMatch", "FixMatch", "SupervisedOnly")]
    with pytest.raises(AttributeError, match="no attribute 'RankMach'"):
        rankmatch_keras.RankMach  # noqa: B018
