# The two commands that matter: make demo, make test. Everything lives in .venv; 'make help' lists the rest.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO := runs/demo
RESULTS := runs/results
MODEL := data/reference/networks/model.nc
SUITABLE := import sys; sys.exit(sys.version_info < (3, 11))

# The first interpreter that is new enough; 'make install PYTHON=python3.12' chooses another.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c '$(SUITABLE)' >/dev/null 2>&1 && echo $$p && break; done)

.DEFAULT_GOAL := help
.PHONY: help install demo results test test-all lint coverage docs clean distclean

help: ## show this list
	@echo "Spinloom. Targets:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1 @\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F@ '{ printf "%-18s %s\n", $$1, $$2 }'
	@echo "Needs Python 3.11 or newer; PYTHON=python3.12 chooses the interpreter that $(VENV) is made with."

install: $(STAMP) ## make .venv and install Spinloom in it, with the versions of constraints.txt

$(BIN)/python:
	@py='$(PYTHON)'; \
	if [ -z "$$py" ]; then \
		echo "error: no Python 3.11 or newer was found; install one, or name it: make install PYTHON=/path/to/python3" >&2; \
		exit 1; \
	fi; \
	if ! "$$py" -c 'pass' >/dev/null 2>&1; then \
		echo "error: '$$py' does not run; name a Python 3.11 or newer: make install PYTHON=/path/to/python3" >&2; \
		exit 1; \
	fi; \
	if ! "$$py" -c '$(SUITABLE)'; then \
		echo "error: '$$py' is $$("$$py" --version 2>&1), but Spinloom needs Python 3.11 or newer" >&2; \
		exit 1; \
	fi; \
	echo "making $(VENV) with $$("$$py" --version 2>&1)"; \
	if ! "$$py" -m venv $(VENV); then \
		rm -rf $(VENV); \
		echo "error: '$$py' cannot make virtual environments; install its venv module (Debian, Ubuntu: package python3-venv)" >&2; \
		exit 1; \
	fi

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@$(BIN)/python -c '$(SUITABLE)' || { \
		echo "error: $(VENV) holds $$($(BIN)/python --version 2>&1), but Spinloom needs 3.11 or newer; run 'make distclean'" >&2; \
		exit 1; }
	@test -d spinloom/data || { \
		echo "error: spinloom/data is not a link to data/: this copy lost its symbolic links; clone the repository with git" >&2; \
		exit 1; }
	@# A venv whose making was interrupted has no pip yet.
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-compile -c constraints.txt -e '.[dev]'
	@# pip compiles on one core, this on all of them; what cannot be compiled is no module that anything imports.
	@$(BIN)/python -W ignore -m compileall -qq -j 0 $(VENV)/lib >/dev/null 2>&1 || true
	@touch $@

demo: install ## calibrate, fit, train, verify in full micromagnetics, and draw the page
	$(BIN)/spinloom run data/experiments/demo.toml --out $(DEMO)
	@echo "The page is $(DEMO)/report.html, the figures are in $(DEMO)/summary.json"

results: install ## the tables of docs/results.md; what is finished is not done again
	$(BIN)/spinloom bench $(MODEL) --full 100 --out $(RESULTS)/cold
	$(BIN)/spinloom bench $(MODEL) --nodes 40 --temperature 300 --full 100 --out $(RESULTS)/warm
	$(BIN)/spinloom bench $(MODEL) --tasks narma10 --nodes 5,10,20,40,100,200,400 --out $(RESULTS)/sizes
	$(BIN)/spinloom bench $(MODEL) --nodes 40,200,400 --out $(RESULTS)/large \
		--tasks memory,parity,mackey-glass,lorenz,sine-square,ipc,mackey-glass-free,lorenz-free
	$(BIN)/spinloom calibrate data/devices/room.toml --engine embedded --out $(RESULTS)/room-calibration.nc
	$(BIN)/spinloom fit $(RESULTS)/room-calibration.nc --kind flow_map --reach 1 --out $(RESULTS)/room.nc
	$(BIN)/spinloom bench $(RESULTS)/room.nc --tasks narma10,memory,mackey-glass,sine-square --nodes 40 \
		--temperature 300 --full 100 --out $(RESULTS)/room

test: install ## run the tests, without those that take long
	$(BIN)/python -m pytest -m "not slow"

test-all: install ## run all tests, and 200,000 spoilt files
	SPINLOOM_CASES=200000 $(BIN)/python -m pytest

lint: install ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

coverage: install ## run all tests and say which lines they miss
	$(BIN)/python -m pytest --cov --cov-report=term

docs: install ## execute the notebooks and build the documentation into site/; a link that leads nowhere is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	@echo "The first page is site/index.html; with a search: $(BIN)/python -m http.server --directory site"

clean: ## remove caches and build leftovers; keep .venv and runs
	rm -rf build dist site spinloom.egg-info .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## as clean, and remove .venv
	rm -rf $(VENV)
