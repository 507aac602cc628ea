# Two commands on a fresh machine: `make demo` runs the main job, `make test` passes the tests.
# Each installs what it needs into .venv; Python 3.11 or later, make and git are all that must be there.

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
export PYTHONWARNINGS :=

.DEFAULT_GOAL := help
.PHONY: help demo test lint types contracts validity benchmarks storm fuzz docs demo-release clean

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
	$(BIN)/python -m pytest -m "not slow" -n 3 --dist loadfile $(ARGS)

lint: .venv/dev.stamp  ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev.stamp  ## Check types
	$(BIN)/basedpyright

contracts: .venv/dev.stamp  ## Check who imports whom
	$(BIN)/lint-imports

validity: .venv/dev.stamp  ## Test the guarantee itself at full size (about ten minutes)
	$(BIN)/python -m pytest tests/validity -o timeout=1800 -n 2 $(ARGS)

# Every seed is another set of patients. Terms and groups are fixed here, before any score is seen. Phantoms do not drift, so the
# certificate holds for ten years. The private key is deleted: nobody can sign another release with it.
demo-release: .venv/dev.stamp  ## Remake the demonstration release from nothing (two to three hours on two cores)
	$(BIN)/demur phantoms --out runs/reference --sites 8 --studies 30000 --prevalence 0.5 --balanced --seed 7
	$(BIN)/demur phantoms --out runs/calibration --sites 8 --studies 16400 --prevalence 0.926 --balanced --seed 8 --split calibration
	$(BIN)/demur phantoms --out runs/test --sites 8 --studies 3000 --prevalence 0.6667 --balanced --seed 31 --split test
	$(BIN)/demur phantoms --out runs/unseen --site site-09 --site site-10 --site site-11 --site site-12 --studies 2800 --prevalence 0.572 --balanced --seed 9 --split test
	$(BIN)/demur train --studies runs/reference/studies.csv --config training/configs/phantoms.toml --out runs/ensemble
	rm -rf runs/candidate demo/release
	$(BIN)/demur export runs/ensemble --studies runs/reference/studies.csv --out runs/candidate
	$(BIN)/demur score runs/candidate --studies runs/calibration/studies.csv --split calibration --out runs/calibration.parquet
	$(BIN)/demur score runs/candidate --studies runs/test/studies.csv --split test --out runs/test.parquet
	$(BIN)/demur score runs/candidate --studies runs/unseen/studies.csv --split test --out runs/unseen.parquet
	$(BIN)/demur certify --scores runs/calibration.parquet --alpha 0.0005 --delta 0.05 --max-prevalence 0.1 --min-healthy-acceptance 0.5 --reference "phantoms: truth by construction" --valid-days 3650 --out runs/certificate.json > /dev/null
	$(BIN)/demur key new --out runs/demo.key > demo/trusted_keys.txt
	$(BIN)/demur release runs/candidate runs/certificate.json --key runs/demo.key --out demo/release
	rm runs/demo.key
	$(BIN)/demur evaluate --scores runs/test.parquet --certificate runs/certificate.json
	$(BIN)/demur evaluate --scores runs/unseen.parquet --certificate runs/certificate.json

docs: .venv/dev.stamp  ## Remake the pages and pictures that are made from the code
	$(BIN)/python docs/make_settings.py > docs/settings.md
	$(BIN)/demur phantoms --out docs/phantoms --contact-sheet

storm: .venv/dev.stamp  ## Kill processes and the database under real clients for ten minutes each, and prove that nothing was lost
	$(BIN)/python -m benchmarks.storm --seconds 600 --database sqlite
	$(BIN)/python -m benchmarks.storm --seconds 600 --database postgresql

.venv/fuzz.stamp: pyproject.toml | .venv/dev.stamp
	$(BIN)/python -m pip install --quiet --editable '.[fuzz]'
	@touch $@

fuzz: .venv/fuzz.stamp  ## Send 100,000 broken requests and films to the entrance, guided by coverage
	$(BIN)/python tests/fuzz/fuzz_entrance.py --inputs 100000

benchmarks: .venv/dev.stamp  ## Time the hot path, decoding, certification, the service and claims against limits measured in the same run
	$(BIN)/python benchmarks/hot_path.py demo/release/candidate --films 10
	$(BIN)/python benchmarks/decode.py
	$(BIN)/python benchmarks/certify.py
	$(BIN)/python -m benchmarks.front_door
	$(BIN)/python -m benchmarks.open_loop
	$(BIN)/python -m benchmarks.claims

clean:  ## Remove the virtual environment and everything built
	rm -rf .venv build dist *.egg-info demo-data
