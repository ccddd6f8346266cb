# Two commands: `make demo` trains and shows, `make test` checks everything. Both set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: demo test lint test-tensorflow test-torch clean

INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# The demonstration needs one backend only.
$(VENV)/demo-ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable ".[tensorflow]"
	touch $@

# torch by itself first: pip resolves its pinned build in seconds then, and never looks at those for GPUs.
$(VENV)/test-ready: $(VENV)/demo-ready
	$(INSTALL) torch
	$(INSTALL) --editable ".[tensorflow,torch,dev]"
	touch $@

demo: $(VENV)/demo-ready
	KERAS_BACKEND=tensorflow $(BIN)/rankmatch train recipes/demo.py --out runs/demo-$$(date +%Y%m%d-%H%M%S)

test: lint test-tensorflow test-torch

lint: $(VENV)/test-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-tensorflow test-torch: test-%: $(VENV)/test-ready
	# One process and one thread per core: threads of several processes would wait for each other.
	KERAS_BACKEND=$* OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache
