# `make dev` runs Minute Meter on this machine, `make test` tests it. Each installs what it needs
# into .venv first. `make help` lists the rest.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

# For `meter dev`, for pytest and for the benchmarks: make dev ARGS="--port 9000"
ARGS ?=

# For the chaos run: make chaos MINUTES=3 SEED=7. Without a seed it takes any.
MINUTES ?= 10
SEED ?=

# For the fuzzers, all together: make fuzz SECONDS=600
SECONDS ?= 60

.PHONY: help dev test check format bench chaos fuzz lock clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

dev: $(INSTALLED) ## run everything on this machine
	@exec $(BIN)/meter dev $(ARGS)

test: $(INSTALLED) ## run all tests
	@setup/browser.sh
	@exec $(BIN)/python -m pytest --numprocesses 3 --dist loadfile $(ARGS)

check: $(INSTALLED) ## check format, lint, import rules and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

format: $(INSTALLED) ## format the source and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(INSTALLED) ## measure against the recorded baselines
	@exec $(BIN)/python -m tests.bench $(ARGS)

chaos: $(INSTALLED) ## break everything for MINUTES=10, and compare every second (SEED=n)
	@exec $(BIN)/python -m tests.faults --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(ARGS)

fuzz: $(INSTALLED) ## fuzz what reads what comes from outside, for SECONDS=60
	@$(BIN)/python -c 'import atheris' 2>/dev/null || \
	  $(BIN)/uv pip install --system-certs --quiet --python $(BIN)/python --group fuzz
	@exec $(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(ARGS)

lock: $(INSTALLED) ## resolve requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --group dev --extra dev-servers \
	  --universal --python-version 3.11 --generate-hashes --upgrade \
	  --no-emit-index-url --no-header --no-annotate --quiet --output-file requirements.lock

clean: ## delete .venv and caches; recorded data in .meter stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .bench .chaos .fuzz
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): requirements.lock pyproject.toml setup/venv.sh
	@setup/venv.sh $(PYTHON)
	@touch $@
