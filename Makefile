# Every target first builds what it needs in .venv, unless it is there already.

PYTHON ?= python3
# ROS 2 release whose wheels serve where no distribution is sourced: kilted (the default) or jazzy.
ROS :=
VENV := .venv$(if $(filter-out kilted,$(ROS)),-$(ROS))
BIN := $(VENV)/bin

# Of `make test` and `make test-fast` without args; a chosen part runs in one process, where -x, -s and --pdb work.
WORKERS := $(if $(args),,--numprocesses 2 --dist loadgroup)
# A seed: `make test` and `make test-fast` run the tests in the random order that belongs to it.
ORDER :=
PYTEST = $(BIN)/python -m pytest $(if $(ORDER),--random-order=$(ORDER)) $(WORKERS)

# Of `make soak`.
HOURS := 1
ESTIMATOR := hybrid

# Input of `make demo`: BAG=path [GT=path.tum], or SEQUENCE=folder; without either, a rendered flight.
DEMO_INPUT = $(if $(BAG),--bag "$(BAG)") $(if $(GT),--gt "$(GT)") $(if $(SEQUENCE),--sequence "$(SEQUENCE)")

.DEFAULT_GOAL := help
.PHONY: help venv peers demo test test-fast fuzz soak mutants lint docs clean

help:
	@echo "make demo       run the node on a recorded flight and evaluate its trajectory (into demo_output/)"
	@echo "                BAG=path GT=path.tum or SEQUENCE=folder: on your own recording"
	@echo "make test       run every test (ROS=jazzy: with the wheels of ROS 2 Jazzy, in .venv-jazzy)"
	@echo "                ORDER=seed: in a random order"
	@echo "make test-fast  the tests without DDS that are not slow: under two minutes on one core"
	@echo "make fuzz       damaged images, messages, recordings and files by the ten thousand: half an hour"
	@echo "make soak       run the node for HOURS=1 with ESTIMATOR=hybrid; memory, threads and latency must stay flat"
	@echo "make mutants    remove and double the terms of all covariances; a test has to fail each time"
	@echo "make lint       ruff and mypy"
	@echo "make docs       build the documentation into build/site (fails on broken links)"
	@echo "make venv       only build the environment in .venv (PYTHON=python3.12 to choose an interpreter)"
	@echo "make peers      add the learned matchers that the estimators are compared with (Python 3.11 or newer)"
	@echo "make clean      remove the environments and everything generated"

venv:
	@$(PYTHON) tools/setup_environment.py $(VENV) $(ROS)

peers: venv
	@$(BIN)/python -m pip install --quiet --no-deps --requirement requirements/peers.txt

demo: venv
	@$(BIN)/iup-pose demo $(DEMO_INPUT) $(args)

test: venv
	@$(PYTEST) $(args)

test-fast: venv
	@$(PYTEST) -m "unit and not slow" $(args)

fuzz: venv
	@FUZZ=1 $(BIN)/python -m pytest test/fuzz test/node/test_random_orders.py $(args)

soak: venv
	@SOAK_HOURS=$(HOURS) SOAK_ESTIMATOR=$(ESTIMATOR) $(BIN)/python -m pytest -s test/node/test_soak.py \
		test/node/test_long_trajectory.py $(args)

mutants: venv
	@$(BIN)/python tools/mutate_covariance.py $(args)

lint: venv
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

# Needs nothing of the package: the generated tables are kept in docs/ (tools/interface_tables.py).
# Not --quiet, which hides the warnings that --strict makes errors.
docs: .venv-docs/installed
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict
	@echo "Written to build/site: open build/site/index.html"

.venv-docs/installed: requirements/docs.txt requirements/constraints.txt
	@$(PYTHON) -m venv --clear .venv-docs
	@.venv-docs/bin/pip install --quiet --disable-pip-version-check -r requirements/docs.txt -c requirements/constraints.txt
	@touch $@

clean:
	@rm -rf .venv .venv-jazzy .venv-docs build install log demo_output .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
