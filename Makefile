# Two commands on a fresh machine: `make demo` runs the main job, `make test` passes the tests.
# Each installs what it needs into .venv; Python 3.11 or later, make and git are all that must be there.

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
export PYTHONWARNINGS :=

.DEFAULT_GOAL := help
.PHONY: help demo test lint types contracts validity benchmarks docs demo-release clean

help:  ## Say what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.venv/pip.stamp:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else f"Demur needs Python 3.11 or later and $(PYTHON) is {v[0]}.{v[1]}; run make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	@touch $@

.venv/base.stamp: pyproject.toml | .venv/pip.stamp
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

.venv/dev.stamp: pyproject.toml | .venv/pip.stamp
	$(BIN)/python -m pip install --quiet --editable '.[train,dev]'
	@touch .venv/base.stamp $@

demo: .venv/base.stamp  ## Run the service on the demonstration release and post films to it (ARGS=--once ends instead of staying up)
	$(BIN)/python demo/run.py $(ARGS)

test: .venv/dev.stamp  ## Run the tests (ARGS=... goes to pytest)
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

lint: .venv/dev.stamp  ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev.stamp  ## Check types
	$(BIN)/basedpyright

contracts: .venv/dev.stamp  ## Check who imports whom
	$(BIN)/lint-imports

validity: .venv/dev.stamp  ## Test the guarantee itself at full size (about ten minutes)
	$(BIN)/python -m pytest tests/validity $(ARGS)

docs: .venv/dev.stamp  ## Remake the pages and pictures that are made from the code
	$(BIN)/python docs/make_settings.py > docs/settings.md
	$(BIN)/demur phantoms --out docs/phantoms --contact-sheet

clean:  ## Remove the virtual environment and everything built
	rm -rf .venv build dist *.egg-info demo-data
