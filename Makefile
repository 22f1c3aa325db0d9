# Everything a fresh machine with Python >= 3.11 and make needs: `make demo`, `make test`.
# Shorter: `make test-fast`. Before raising or lowering a bound: `make test-oldest`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PLUGINS := $(wildcard plugins/dafm-plugin-*)
INSTALLED := $(VENV)/.installed-dev
# Python files are compiled when they are imported, and packages of this repository are built by the
# one setuptools that is installed first, which saves time.
INSTALL := -m pip install --quiet --disable-pip-version-check --no-compile
# An environment that forbids compiled files would have every process of the tests compile anew.
unexport PYTHONDONTWRITEBYTECODE
# As a variable of the environment, the constraints also hold for what builds a package.
PIP := PIP_CONSTRAINT=constraints.txt $(BIN)/python $(INSTALL)

# Left out of the short runs: what starts many processes, trains at length, or needs a plugin.
SLOW := benchmarks cli contracts examples faults reporting test_scaffold.py \
  comparison/test_incremental.py evaluation/test_tuning.py formats/test_round_trips.py \
  formats/test_submission.py fusion/light fusion/test_shortlists.py scoring/test_executors.py
SLOWER := $(SLOW) cases comparison fusion/channels scenes search serve testing wrapping \
  evaluation/test_workers.py formats/test_exporting.py formats/test_shortlists.py \
  fusion/static/test_ranx.py fusion/test_paper.py
CORE_TESTS := dafm_core tests $(addprefix --ignore=tests/,$(SLOW))
FAST_TESTS := tests $(addprefix --ignore=tests/,$(SLOWER))
OLDEST := .venv-oldest

.PHONY: demo serve test test-fast test-oldest lint types layers tests docs wheels format clean

## Run the whole pipeline on the embedded dataset; ends in out/demo/report.html
demo: $(VENV)/.installed
	$(BIN)/dafm demo --out out/demo

## Search the demo's own gallery on a page: http://127.0.0.1:8765/
serve: $(VENV)/.installed-serve
	test -e out/demo/index/index.json || $(BIN)/dafm demo --out out/demo
	$(BIN)/dafm serve out/demo/index --model out/demo/light --queries out/demo/store \
	  --judgements out/demo/judged.jsonl

## What CI runs: style, types, layers, all tests of core, plugins and examples, site, built packages
test: $(INSTALLED)
	$(MAKE) --no-print-directory -j 2 --output-sync=line lint types layers docs wheels tests

## The heart of core alone, without what takes long (SLOWER)
test-fast: $(INSTALLED)
	$(BIN)/pytest -q -n 2 $(FAST_TESTS)

## The same with the oldest releases that pyproject.toml allows; faiss takes no NumPy that old
test-oldest: $(INSTALLED)
	$(PYTHON) -m venv $(OLDEST)
	$(BIN)/python .ci/oldest.py > $(OLDEST)/oldest.txt
	PIP_CONSTRAINT=$(OLDEST)/oldest.txt $(OLDEST)/bin/python $(INSTALL) -e ".[onnx,serve]" \
	  onnxruntime pytest hypothesis ir-measures ranx ftfy regex tokenizers transformers
	$(OLDEST)/bin/pytest -q -W ignore::DeprecationWarning \
	  --ignore=dafm_core/search/faiss_engine.py $(CORE_TESTS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	MYPYPATH=$$(echo $(PLUGINS) | tr ' ' ':') $(BIN)/mypy -p dafm_core \
	  $(foreach plugin,$(PLUGINS),-p $(subst -,_,$(notdir $(plugin))))

layers: $(INSTALLED)
	$(BIN)/lint-imports

# Two processes of one thread each: torch's own threads would only get in each other's way.
tests: $(INSTALLED)
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -q -n 2

## Build the documentation site into out/site; a warning or a dead link fails
docs: $(INSTALLED)
	$(BIN)/python docs/site/build.py

## Build sdists and wheels, look into them, use them in an environment of their own
wheels: $(INSTALLED)
	$(BIN)/python .ci/check_wheels.py

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) setuptools

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --no-build-isolation -e .
	touch $@

$(VENV)/.installed-serve: $(VENV)/.installed
	$(PIP) -e ".[serve]"
	touch $@

$(INSTALLED): $(VENV)/.installed $(addsuffix /pyproject.toml,$(PLUGINS))
	$(PIP) --no-build-isolation -e ".[dev]" $(foreach plugin,$(PLUGINS),-e "$(plugin)$(if $(filter %captions,$(plugin)),[offline])")
	touch $@

clean:
	rm -rf $(VENV) $(OLDEST) out .pytest_cache .mypy_cache .ruff_cache .hypothesis
