# Two commands: `make demo` trains and shows, `make test` checks everything. Both set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: demo test lint test-tensorflow test-torch clean

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	# The pinned torch first: left to choose, pip takes the newest build and gigabytes for GPUs.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[tensorflow,torch,dev]"
	touch $@

demo: $(VENV)/ready
	$(BIN)/rankmatch train recipes/demo.py --out $(shell mktemp -u -d runs/demo-XXXX)

test: lint test-tensorflow test-torch

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-tensorflow test-torch: test-%: $(VENV)/ready
	KERAS_BACKEND=$* $(BIN)/python -m pytest

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache
