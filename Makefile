# `make demo` trains and shows, `make test` checks everything, `make docs` builds the site. All set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: demo docs test lint test-torch test-tensorflow test-jax test-parity stress clean

# Bytecode is written when a module is first imported: compiling all that is installed takes a minute more.
INSTALL := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt
export PYTHONDONTWRITEBYTECODE =

# The demonstration needs one backend only.
$(VENV)/demo-ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable ".[tensorflow]"
	touch $@

# torch by itself first: pip resolves its pinned build in seconds then, and never looks at those for GPUs.
$(VENV)/test-ready: $(VENV)/demo-ready
	$(INSTALL) torch
	$(INSTALL) --editable ".[tensorflow,torch,jax,export,video,volumes,dev,docs]"
	# Their own requirements would put other packages over tensorflow-cpu's files.
	$(INSTALL) --no-deps keras-hub tf-keras tokenizers
	touch $@

demo: $(VENV)/demo-ready
	KERAS_BACKEND=tensorflow $(BIN)/rankmatch train recipes/demo.py --out runs/demo-$$(date +%Y%m%d-%H%M%S)

# tests/docs builds it as well, with warnings as errors alike.
docs: $(VENV)/docs-ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/docs-ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable ".[docs]"
	touch $@

test: lint test-torch test-tensorflow test-jax test-parity

lint: $(VENV)/test-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# One process and one thread per core: threads of several processes would wait for each other.
test-% stress: export OMP_NUM_THREADS = 1
# JAX compiles every operation that a test runs: what one test or process compiled, the others read.
test-% stress: export JAX_COMPILATION_CACHE_DIR = $(CURDIR)/.pytest_cache/jax
test-% stress: export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS = 0
test-% stress: export JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES = -1
# And without XLA's optimisations and fusion emitters, which take more than half of a compilation: the networks are tiny,
# each runs a few steps.
test-% stress: export XLA_FLAGS = --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false
PYTEST := $(BIN)/python -m pytest --durations 20
# tests/conftest.py has the order of the files.
TWO_PROCESSES := --numprocesses 2 --dist loadfile --no-loadscope-reorder

# What reads and prepares files does so alike on every backend: it is tested on the one that starts fastest.
test-torch: $(VENV)/test-ready
	KERAS_BACKEND=torch $(PYTEST) $(TWO_PROCESSES) --ignore tests/parity

# What a backend plays no part in is tested on torch alone. So are networks from elsewhere, which take many minutes to
# trace and compile.
ONCE := -m "not once" --ignore tests/data --ignore tests/models/keras_2 --ignore tests/models/test_keras_hub.py
test-tensorflow test-jax: test-%: $(VENV)/test-ready
	KERAS_BACKEND=$* $(PYTEST) $(TWO_PROCESSES) --ignore tests/parity $(ONCE)

# Starts a process per backend by itself.
test-parity: $(VENV)/test-ready
	KERAS_BACKEND=torch $(PYTEST) tests/parity

# Damaged files, kills, full disks and long runs, half an hour or more; docs/reliability.md says what is promised.
stress: $(VENV)/test-ready
	$(BIN)/python tests/stress

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache
