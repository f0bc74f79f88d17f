# What a newcomer types: make sweep, make test.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: sweep test test-all soak slurm lint benchmark clean

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $(READY)

sweep: $(READY)
	$(BIN)/python -m experiments.sweep

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

test: lint
	$(BIN)/python -m pytest -m "not slow and not soak and not slurm and not cuda"

test-all: lint
	$(BIN)/python -m pytest -m "slow and not soak and not slurm and not cuda"

soak: $(READY)
	$(BIN)/python -m pytest -m soak

# Needs Slurm on this machine: see scripts/one_node_slurm.sh.
slurm: $(READY)
	$(BIN)/python -m pytest -m slurm

benchmark: $(READY)
	$(BIN)/python -m experiments.benchmark

clean:
	rm -rf $(VENV) outputs multirun
