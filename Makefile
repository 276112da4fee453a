# Everything sets itself up: Python 3.11 or newer, make and git are all that must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UV := uv==0.13.9

.PHONY: help setup demo up test bench evaluate lint types contracts lock clean

help:  ## what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-10s %s\n", $$1, $$2 }'

setup: $(STAMP)  ## the virtual environment in .venv, from requirements.lock

# Without compiled bytecode every process recompiles 15 to 20 s of imports.
$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one: make PYTHON=python3.12")'
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check '$(UV)'
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-build-isolation --no-deps --editable .
	touch $@

demo: $(STAMP)  ## simulate the demonstration plant and take it through the whole chain
	$(BIN)/maintenance demo

up: $(STAMP)  ## serve the Dagster UI (127.0.0.1:3000) and the MLflow UI (127.0.0.1:5000) until Ctrl-C
	@exec $(BIN)/maintenance up

test: $(STAMP)  ## the whole suite
	$(BIN)/python -m pytest

bench: $(STAMP)  ## measure speed and memory; writes bench.json into the data folder
	$(BIN)/maintenance bench

DATA ?= ../shared/data
evaluate: $(STAMP)  ## hold the detectors against public data in DATA (../shared/data)
	$(BIN)/maintenance evaluate --data '$(DATA)'

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

contracts: $(STAMP)  ## the import directions between the folders
	$(BIN)/lint-imports

lock: $(STAMP)  ## pin anew what pyproject.toml asks for
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-annotate --no-header --extra dev pyproject.toml -o requirements.lock

clean:  ## forget the data folder in the checkout; the next demo begins anew
	rm -rf .smart-maintenance
