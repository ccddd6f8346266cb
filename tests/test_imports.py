"""The import rule: imports point one way, and importing the package stays light."""

import ast
import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = CHECKOUT / "rankmatch_keras"
FRAMEWORKS = {"tensorflow", "torch", "jax"}

# Libraries from outside, and folders of the package, that each folder may import.
OUTSIDE = {
    "layers": {"keras", "numpy"},
    "losses": {"keras", "numpy"},
    "models": {"keras", "numpy", "keras_cv", "keras_hub", "h5py"},
    "data": {"keras", "numpy", "keras_cv", "PIL", "tensorflow", "tifffile", "scipy"},
    "methods": {"keras", "numpy"},
    "training": {"keras", "numpy", "PIL", "matplotlib"},
    "evaluation": {"keras", "numpy", "PIL", "matplotlib", "scipy"},
    "comparison": {"numpy", "matplotlib", "scipy"},
    "figures": {"keras", "numpy", "matplotlib", "scipy"},
    "commands": {"keras", "numpy", "PIL", "click"},
}
INSIDE = {
    "layers": {"layers"},
    "losses": {"layers", "losses"},
    "models": {"layers", "losses", "models"},
    "data": {"layers", "losses", "data"},
    "methods": {"layers", "losses", "models", "methods"},
    "training": {"layers", "losses", "models", "data", "methods.base", "evaluation", "training"},
    "evaluation": {"layers", "losses", "models", "data", "methods.base", "evaluation"},
    "comparison": {"evaluation", "training.runs", "comparison"},
    "figures": {"layers", "evaluation", "figures"},
    "commands": {
        "data",
        "data_flags",
        "evaluation",
        "methods",
        "models",
        "options",
        "training",
        "comparison",
        "figures",
        "commands",
    },
}
# What one file may import beside that: TensorFlow reads the variables of a SavedModel, inside a function.
ALSO = {os.path.join("models", "keras_2", "files.py"): {"tensorflow"}}
# Modules beside the folders that everyone may import, as they import nothing but the standard library.
COMMON = {"errors", "files"}
# Constants of the package itself.
CONSTANTS = {"IGNORE_INDEX"}
# Rooms of `training` that exist once per backend: the step, the distribution engine, precision and determinism.
BACKEND_FILES = re.compile(r"(steps|distribution|numerics)_(tensorflow|torch|jax)(_\w+)?\.py")

# Beside those, what may compare the backend's name, and why.
BRANCHES = {
    os.path.join("data", "batches", "tf_data.py"): "hides GPUs from TensorFlow where it only feeds another backend",
    os.path.join("evaluation", "inference.py"): "keeps XLA from compiling anew for every image size on TensorFlow",
}

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


def is_backend_file(path):
    return path.parent.name == "training" and bool(BACKEND_FILES.fullmatch(path.name))


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
            frameworks = FRAMEWORKS if is_backend_file(path) else ALSO.get(name_of(path), set())
            libraries = OUTSIDE[folder] | frameworks
            assert top in libraries, f"{folder} must not import {module}"


@pytest.mark.parametrize("name", sorted(COMMON))
def test_common_modules_need_only_the_standard_library(name):
    modules = imported_modules(ast.parse((PACKAGE / f"{name}.py").read_text()))
    assert {module.partition(".")[0] for module in modules} <= sys.stdlib_module_names


@pytest.mark.parametrize("path", [p for p in SOURCES if not is_backend_file(p)], ids=name_of)
def test_few_files_branch_on_the_backend(path):
    comparisons = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Compare)]
    asked = [node.lineno for node in comparisons if "backend()" in ast.unparse(node)]
    assert bool(asked) == (name_of(path) in BRANCHES), f"lines {asked}"


def test_methods_load_only_step_modules_by_name():
    calls = []
    for path in (PACKAGE / "methods").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
                calls.append(ast.unparse(node.args[0]))
    assert len(calls) == 1 and "rankmatch_keras.training.steps_" in calls[0]


@pytest.mark.parametrize("path", sorted((PACKAGE / "training").glob("steps_*.py")), ids=name_of)
def test_step_modules_import_only_layers_and_each_other(path):
    """So that methods may load them."""
    inside = [m for m in imported_modules(ast.parse(path.read_text())) if m.startswith("rankmatch_keras")]
    allowed = ("rankmatch_keras.training", "rankmatch_keras.training.steps_", "rankmatch_keras.layers")
    assert all(m == allowed[0] or m.startswith(allowed[1:]) for m in inside), inside


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
    modules = modules_after(f"import rankmatch_keras, {folders}; rankmatch_keras.RankMatch", "torch")
    assert "torch" in modules
    # (Keras itself imports jax where it finds it.)
    assert not modules & {"tensorflow", "keras_cv"}


def test_public_names_resolve():
    import rankmatch_keras

    assert set(rankmatch_keras.__all__) <= set(dir(rankmatch_keras))
    assert [getattr(rankmatch_keras, name) for name in ("RankMatch", "UniMatch", "FixMatch", "SupervisedOnly")]
    with pytest.raises(AttributeError, match="no attribute 'RankMach'"):
        rankmatch_keras.RankMach  # noqa: B018
