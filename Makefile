# What a newcomer types: make sweep, make test.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --editable
# make coverage says which lines the tests reach.
PYTEST = $(BIN)/python -m pytest -n auto --dist worksteal $(if $(COVERAGE),--cov --cov-report=term)

# The pages are looked at by a browser where there is one.
BROWSER := $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
NO_BROWSER = $(if $(BROWSER),, and not browser)

.PHONY: sweep test test-all soak slurm lint coverage docs benchmark clean

$(VENV)/.sweep: pyproject.toml
	@echo "Making a virtual environment in $(VENV) and installing PyTorch and the rest into it: some minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(INSTALL) .
	touch $@

$(VENV)/.test: $(VENV)/.sweep
	$(INSTALL) '.[test]'
	touch $@

$(VENV)/.all: $(VENV)/.test
	$(INSTALL) '.[test,docs,joblib,slurm,ray]'
	touch $@

sweep: $(VENV)/.sweep
	$(BIN)/tapemeasure sweep

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

test: lint
	$(PYTEST) -m "not slow and not soak and not slurm and not cuda and not browser"

coverage:
	$(MAKE) test COVERAGE=1

# With the launchers; the documentation must build without a warning.
test-all: $(VENV)/.all lint docs
	$(PYTEST) -m "(slow or browser) and not soak and not slurm and not cuda$(NO_BROWSER)"

# What takes hours, and every test of drawn examples with other draws than those of make test.
soak: $(VENV)/.all
	$(PYTEST) --hypothesis-profile=random -m "soak or hypothesis"

# Needs Slurm on this machine: see scripts/one_node_slurm.sh.
slurm: $(VENV)/.all
	$(BIN)/python -m pytest -m slurm

# The gallery shows the figures of a sweep that is measured here.
docs: $(VENV)/.all
	rm -rf build/gallery
	$(BIN)/tapemeasure sweep scale=null 'memory=[1MiB]' hydra.run.dir=build/gallery
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

benchmark: $(VENV)/.sweep
	$(BIN)/tapemeasure benchmark

clean:
	rm -rf $(VENV) build outputs multirun site
