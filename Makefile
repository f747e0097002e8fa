# Two commands are enough: `make book` and `make test`. Each builds .venv from requirements.lock when it has to.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help book test lab laptop full clean distclean venv

CORES ?= 2
VENV := .venv
BIN := $(VENV)/bin
LOCKED := $(VENV)/.locked
READY := $(VENV)/.ready
SITE := _build/html/index.html
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --retries 2
# Where torch comes from, when the default index is not the right one: make book TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
# One interpreter and one Jupyter configuration: what a user keeps in the home directory stays out of the build.
export PYTHONNOUSERSITE := 1
export JUPYTER_PREFER_ENV_PATH := 1
unexport PYTHONPATH

help:
	@echo "make book    execute every chapter at the smoke tier and build the site in _build/html"
	@echo "make test    style, notebooks and package in sync, notebook tests, pytest"
	@echo "make lab     JupyterLab in which a double click opens a chapter as a notebook"
	@echo "make laptop  results on CMU motion capture at the laptop tier (needs PROBPOSE_CMU, see README.md)"
	@echo "make full    the same with the papers' settings (needs an accelerator)"
	@echo "make clean   remove everything that is built, except .venv; make distclean removes .venv too"

venv: $(READY)

# The first Python from 3.11 to 3.13 that can make an environment; PYTHON=/path/to/python overrides the search.
$(VENV)/pyvenv.cfg:
	@for python in $(or $(PYTHON),python3.11 python3.12 python3.13 python3); do \
	    if $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then \
	        found=yes; \
	        $$python -c 'import venv, ensurepip' 2>/dev/null || continue; \
	        echo "making $(VENV) with $$($$python --version)"; \
	        exec $$python -m venv $(VENV); \
	    fi; \
	done; \
	if [ "$${found:-no}" = yes ]; then \
	    echo "This Python has no venv module; on Debian or Ubuntu: apt-get install python3-venv" >&2; \
	else \
	    echo "No Python 3.11, 3.12 or 3.13 was found; install one or say PYTHON=/path/to/python" >&2; \
	fi; exit 1

# torch first and alone: see the head of requirements.lock.
$(LOCKED): requirements.lock | $(VENV)/pyvenv.cfg
	@echo "installing the $$(grep -c == requirements.lock) packages of requirements.lock (a few minutes the first time)"
	@$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$$(grep '^torch==' requirements.lock)"
	@$(PIP) -r requirements.lock
	@touch $@

# An egg-info in the root, left by a build, would hide what is installed.
$(READY): $(LOCKED) settings.ini setup.py pyproject.toml
	@rm -rf probpose.egg-info
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

book: $(READY)
	@$(BIN)/snakemake --cores $(CORES) --quiet rules host reason
	@echo "The book is ready: file://$(CURDIR)/$(SITE)"

test: $(READY)
	@echo "== style: ruff"
	@$(BIN)/ruff check --quiet nbs tests .ci setup.py && $(BIN)/ruff format --check --quiet nbs tests .ci setup.py
	@echo "== repository: layout, layers, notebooks and package in sync, tables of four chapters"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/repository --numprocesses $(CORES)
	@echo "== notebook tests"
	@PATH="$(CURDIR)/$(BIN):$$PATH" OMP_NUM_THREADS=1 $(BIN)/nbdev_test --n_workers $(CORES)
	@echo "== pytest"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --ignore tests/repository --numprocesses $(CORES)

lab: $(READY)
	@JUPYTER_CONFIG_PATH="$(CURDIR)/.jupyter" $(BIN)/jupyter lab $(LAB)

laptop full: $(READY)
	@$(BIN)/snakemake $@ --cores $(CORES) --resources gpu=1 --keep-going

clean:
	rm -rf _build _proc dist build .snakemake probpose.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
