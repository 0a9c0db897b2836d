# Everything starts from Python 3.11 or newer and make. `make help` lists what there is.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export PYTHONDONTWRITEBYTECODE := # else each of a thousand processes compiles the package anew

.DEFAULT_GOAL := help
.PHONY: help setup lock run test check browser lint style types lab docs docs-serve bench study clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# A mark for each kind of environment (.ci/set_up.py names them), older than what it is made from if that has changed.
$(VENV)/.ready-%: pyproject.toml .ci/lock.txt .ci/set_up.py $(BIN)/python
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) here. pokeml needs Python 3.11 or newer:" \
		"install one, or name it: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) .ci/set_up.py $* $(VENV)

# One that is gone makes the marks old.
$(BIN)/python: ;

setup: $(VENV)/.ready-dev ## Set up .venv with everything, and git for notebooks (other targets set up what they need)
	@if git ls-files --error-unmatch Makefile >/dev/null 2>&1; then \
		echo "Telling git about notebooks, in this clone's .git/config (pokeml init)"; $(BIN)/pokeml init; fi

lock: $(BIN)/uv ## Bring .ci/lock.txt in step with pyproject.toml (ARGS=--upgrade: with newer versions)
	@$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11.0 --no-python-downloads \
		--no-annotate --quiet --custom-compile-command "make lock" --output-file .ci/lock.txt $(ARGS)

$(BIN)/uv:
	@$(MAKE) --no-print-directory $(VENV)/.ready-run

run: $(VENV)/.ready-run ## Run all pipelines on the real data
	@$(BIN)/pokeml run

test: $(VENV)/.ready-dev style browser ## Pass every test: lint, types, notebooks, pytest (ARGS=--cold starts every process anew)
	@$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder --durations 10 $(ARGS)

check: $(VENV)/.ready-dev style ## Check a change within a minute: lint, types, and the tests and notebooks nearest to it
	@$(BIN)/mypy > $(VENV)/.types.txt 2>&1 & types=$$!; \
		$(BIN)/python -m pytest -p no:xdist -q --ignore tests/test_types.py --affected 30 $(ARGS); failed=$$?; \
		[ $$failed != 5 ] || failed=0; \
		wait $$types || failed=1; cat $(VENV)/.types.txt; exit $$failed

# The page of `pokeml serve` is tested in Chromium, which is installed where that can be done without asking.
browser:
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && echo "Installing Chromium (once)" && \
		{ apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium; } >/dev/null 2>&1 || \
		echo "There is no Chromium: the tests of the page are skipped, or fail with CI=true."

lint: style types ## Check style, architecture and types

style: $(VENV)/.ready-dev
	@$(BIN)/ruff check && $(BIN)/ruff format --check
	@$(BIN)/lint-imports

types: $(VENV)/.ready-dev
	@$(BIN)/mypy

lab: $(VENV)/.ready-lab ## Open JupyterLab at the root (ARGS=--no-browser, or what else `jupyter lab` takes)
	@$(BIN)/pokeml lab $(ARGS)

docs: $(VENV)/.ready-dev ## Build the docs site from the notebooks, to _site/ (some minutes; what has not changed comes from a cache)
	@$(BIN)/python .docs/build.py $(ARGS)

docs-serve: docs ## Build the docs site, and show it on this machine
	@$(BIN)/python -m http.server --bind 127.0.0.1 --directory _site 8001

bench: $(VENV)/.ready-dev ## Time pokeml beside a script, Kedro and papermill, 15 to 20 minutes (bench/README.md)
	@$(BIN)/python -m bench.run $(ARGS)

study: $(VENV)/.ready-dev ## Score the models on ten splits of the rows, beside references, some minutes (bench/README.md)
	@$(BIN)/python -m bench.study $(ARGS)

clean: ## Remove what runs have made, and .venv
	@git clean -fdXq data outputs
	@rm -rf $(VENV) .bench build _site .docs/cache .docs/source .docs/build
