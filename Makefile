# Everything a fresh machine with Python >= 3.11 and make needs: `make demo`, `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PLUGINS := $(wildcard plugins/dafm-plugin-*)
INSTALLED := $(VENV)/.installed-dev
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint types layers tests format clean

## Run the whole pipeline on the embedded dataset; ends in out/demo/report.html
demo: $(VENV)/.installed
	$(BIN)/dafm demo --out out/demo

## What CI runs: style, types, layers, then all tests of core, plugins and examples
test: lint types layers tests

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	MYPYPATH=$$(echo $(PLUGINS) | tr ' ' ':') $(BIN)/mypy -p dafm_core \
	  $(foreach plugin,$(PLUGINS),-p $(subst -,_,$(notdir $(plugin))))

layers: $(INSTALLED)
	$(BIN)/lint-imports

tests: $(INSTALLED)
	$(BIN)/pytest -q -n 2

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e .
	touch $@

$(INSTALLED): $(VENV)/.installed $(addsuffix /pyproject.toml,$(PLUGINS))
	$(PIP) -e ".[dev]" $(foreach plugin,$(PLUGINS),-e $(plugin)) -e "plugins/dafm-plugin-captions[offline]"
	touch $@

clean:
	rm -rf $(VENV) out .pytest_cache .mypy_cache .ruff_cache .hypothesis
