# `make` shows what there is. T=path narrows any target that looks at code or runs tests.
SHELL := /bin/sh
.DEFAULT_GOAL := help
BIN := .venv/bin
T ?=
ARGS ?=
CODE = $(if $(T),$(T),libs services tests)

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } /^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nT=path narrows a target, for example: make test T=libs/base\n'

##@ Start here
.PHONY: setup run
setup: ## Make .venv with everything in it (from a bare Debian with Python 3.11 or newer)
	@tools/setup.sh
run: setup ## Start a store on this machine: 4 drive folders under .data/, S3 on port 9000
	@exec $(BIN)/liteio server --drives '.data/d{1...4}' $(ARGS)

##@ Prove it
.PHONY: check test clients chaos proof
check: fmt-check lint types imports ## All static checks, precisely what CI runs
test: setup ## Run the tests (ARGS='-k name' passes on to pytest)
	@$(BIN)/pytest $(T) $(ARGS)
clients: setup ## Work with real clients over http and https (LITEIO_CLIENTS=all: every one that there is)
	@$(BIN)/pytest tests/clients -rs $(ARGS)
chaos: setup ## Kill processes, cut power, lose drives (LITEIO_SEED=n repeats the operations of a run)
	@$(BIN)/pytest tests/chaos -rsx $(ARGS)
proof: setup ## The full numbers: all clients, 50 rounds of kills, 50 power cuts; writes docs/s3-compatibility.md
	@LITEIO_PROOF=1 $(BIN)/pytest tests/clients tests/chaos -rsx $(ARGS)

##@ One check at a time
.PHONY: fmt fmt-check lint types imports
fmt: setup ## Format the code in place
	@$(BIN)/ruff format $(CODE)
	@$(BIN)/ruff check --fix-only --quiet $(CODE)
fmt-check: setup
	@$(BIN)/ruff format --check $(CODE)
lint: setup ## Lint (ruff)
	@$(BIN)/ruff check $(CODE)
types: setup ## Check types (mypy --strict over sources and tests)
	@$(BIN)/mypy $(CODE)
imports: setup ## Prove that the layers only import downwards
	@$(BIN)/lint-imports

##@ Keep house
.PHONY: lock clean
lock: setup ## Pin again what requirements/*.in name (UPGRADE=1 takes the newest)
	@$(BIN)/uv pip compile --quiet --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-header \
		$(if $(UPGRADE),--upgrade) requirements/runtime.in requirements/dev.in -o requirements/lock.txt
clean: ## Remove caches and .venv (never .data)
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find libs services tests -name __pycache__ -type d -prune -exec rm -rf {} +
