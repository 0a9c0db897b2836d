# Everything starts from Python 3.11 or newer and make. `make help` lists what there is.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export PYTHONDONTWRITEBYTECODE := # else each of a thousand processes compiles the package anew

.DEFAULT_GOAL := help
.PHONY: help setup run test browser lint style types lab docs docs-serve bench study clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Rebuilt only when what it is made from has changed.
$(VENV)/.ready: pyproject.toml .ci/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "pokeml needs Python 3.11 or newer, and $(PYTHON) is older. Name another: make PYTHON=python3.12"; exit 1; }
	@echo "Setting up $(VENV) (once, about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt -e '.[dev]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps poke-env==0.16.1 # its tables alone: nbs/data
	@if git ls-files --error-unmatch Makefile >/dev/null 2>&1; then $(BIN)/pokeml init || true; fi # not in an archive
	@touch $@

setup: $(VENV)/.ready ## Set up .venv; the other targets do it themselves

run: setup ## Run all pipelines on the real data
	@$(BIN)/pokeml run

test: setup style browser ## Pass every test: lint, types, notebooks, pytest (ARGS=--cold starts every process anew)
	@$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder --durations 10 $(ARGS)

# The page of `pokeml serve` is tested in Chromium, which is installed where that can be done without asking.
browser:
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && echo "Installing Chromium (once)" && \
		{ apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium; } >/dev/null 2>&1 || \
		echo "There is no Chromium: the tests of the page are skipped, or fail with CI=true."

lint: style types ## Check style, architecture and types

style: setup
	@$(BIN)/ruff check && $(BIN)/ruff format --check
	@$(BIN)/lint-imports

types: setup
	@$(BIN)/mypy

lab: setup ## Open JupyterLab at the root, on the tour (ARGS=--no-browser, or what else `jupyter lab` takes)
	@$(BIN)/pokeml lab $(ARGS)

docs: setup ## Build the docs site from the notebooks, to _site/ (some minutes; what has not changed comes from a cache)
	@$(BIN)/python .docs/build.py $(ARGS)

docs-serve: docs ## Build the docs site, and show it on this machine
	@$(BIN)/python -m http.server --bind 127.0.0.1 --directory _site 8001

bench: setup ## Time pokeml beside a script, Kedro and papermill, 15 to 20 minutes (bench/README.md)
	@$(BIN)/python -m bench.run $(ARGS)

study: setup ## Score the models on ten splits of the rows, beside references, some minutes (bench/README.md)
	@$(BIN)/python -m bench.study $(ARGS)

clean: ## Remove what runs have made, and .venv
	@git clean -fdXq data outputs
	@rm -rf $(VENV) .bench build _site .docs/cache .docs/source .docs/build
