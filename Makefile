# Two commands to know: `make demo` and `make test`. Both set up everything they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-fast lint format setup clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 demo"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  --editable '.[bvh,dashboard,dev,postgresql]'
	touch $@

demo: setup ## the main job on the bundled data: about 5 minutes on 2 CPU cores
	$(BIN)/tuner greedy --backbone videopose --preset quick

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

UNIT := not integration and not fault
# Those that start servers and clusters wait much, so two at a time do not disturb each other.

test: setup lint ## everything: about 35 minutes on 2 CPU cores
	$(BIN)/python -m pytest -m "$(UNIT)" --numprocesses 2 --dist loadfile
	$(BIN)/python -m pytest -m "not ($(UNIT))" --numprocesses 2 --dist loadfile

test-fast: setup ## unit tests only
	$(BIN)/python -m pytest -m "$(UNIT) and not slow" --numprocesses 2 --dist loadfile

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
