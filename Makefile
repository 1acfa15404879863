# `make` shows what there is. T=path narrows any target that looks at code or runs tests.
SHELL := /bin/sh
.DEFAULT_GOAL := help
BIN := .venv/bin
T ?=
ARGS ?=
# These start servers and measure or break them, so they run one after the other, by targets of their own: tests that look
# at times fail where another part takes a processor. Skipped tests are printed with their reasons, and the slowest with
# their times.
APART = sim clients chaos cluster faults memory test_one_machine.py
PARTS = unit sim clients chaos cluster faults memory
PYTEST = echo '== $@' && $(BIN)/pytest -rs --durations=15 --durations-min=1
PIN = $(BIN)/uv pip compile --quiet --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-header
# The second generation of compose is a part of docker, the first a program of its own, which must be told of BuildKit.
COMPOSE = DOCKER_BUILDKIT=1 COMPOSE_DOCKER_CLI_BUILD=1 \
	$$(docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
CODE = $(if $(T),$(T),libs services tests)

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } /^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nT=path narrows a target, for example: make test T=libs/base\n'

##@ Start here
.PHONY: setup run up down logs
setup: ## Make .venv with everything in it (from a bare Debian with Python 3.11 or newer)
	@tools/setup.sh
run: setup ## Start a store on this machine: 4 drive folders under .data/, S3 on port 9000
	@exec $(BIN)/liteio server --drives '.data/d{1...4}' $(ARGS)
up: ## Start a cluster in containers, S3 on port 9000 (SCALE=3: three gateways), and print its credentials
	@$(COMPOSE) up --build --detach --scale gateway=$(or $(SCALE),1) $(ARGS)
	@$(COMPOSE) exec -T gateway sh -c 'echo "AWS_ACCESS_KEY_ID=$$(cat /secrets/root-access-key)" && \
		echo "AWS_SECRET_ACCESS_KEY=$$(cat /secrets/root-secret-key)"'
down: ## Stop the containers; the volumes stay (ARGS=--volumes: forget everything that is stored)
	@$(COMPOSE) down $(ARGS)
logs: ## Follow the containers' logs (ARGS=gateway: those of one service)
	@$(COMPOSE) logs --follow --tail 100 $(ARGS)

##@ Prove it
.PHONY: check test unit sim clients chaos cluster faults memory bench bench-peers proof
check: fmt-check lint types imports ## All static checks, precisely what CI runs
test: setup ## Run the tests: all that CI runs, or those of T (ARGS='-k name' passes on to pytest)
	@$(if $(T),$(PYTEST) $(T) $(ARGS),$(foreach part,$(PARTS),$(MAKE) --no-print-directory $(part) &&) :)
unit: setup ## Every member's unit and contract tests, and those of the tree itself
	@$(PYTEST) libs services tests $(foreach part,$(APART),--ignore=tests/$(part)) $(ARGS)
sim: setup ## Simulate 300 seeds and planted bugs; SEED=n replays one, COUNT=m runs m from SEED on (or from 1)
	@$(if $(SEED)$(COUNT),$(BIN)/python -m tests.sim.run --seed $(or $(SEED),1) --count $(or $(COUNT),1) --jobs $$(nproc),$(PYTEST) tests/sim $(ARGS))
clients: setup ## Work with real clients over http and https (LITEIO_CLIENTS=all: every one that there is)
	@$(PYTEST) tests/clients $(ARGS)
chaos: setup ## One machine from start to end; kill processes, cut power, lose drives (LITEIO_SEED=n repeats a run)
	@$(PYTEST) tests/test_one_machine.py tests/chaos $(ARGS)
cluster: setup ## Clusters of real processes, and compose.yaml in containers: links cut, nodes killed and hung, clocks stepped
	@$(PYTEST) tests/cluster -rP $(ARGS)
faults: setup ## The rows of the fault matrix, each in part (ARGS='-k 13' runs one; LITEIO_SEED=n repeats)
	@$(PYTEST) tests/faults $(ARGS)
memory: setup ## Load a worker with large objects and slow readers, and watch its memory
	@$(PYTEST) tests/memory -rP $(ARGS)
bench: setup ## The store alone, several gateways, a bucket of a million keys, healing
	@$(BIN)/python -m tests.bench store && $(BIN)/python -m tests.bench gateways && \
		$(BIN)/python -m tests.bench growth && $(BIN)/python -m tests.bench healing
bench-peers: setup ## Speed beside MinIO and SeaweedFS, an hour long: writes docs/benchmarks.md (ARGS=--quick: 5 minutes)
	@BENCH_WEED="$$($(BIN)/python -m tests.bench.peer)" $(BIN)/python -m tests.bench peers $(ARGS)
proof: setup ## All of it at full size, hours long: writes docs/proof.md and docs/s3-compatibility.md
	@BENCH_WEED="$$($(BIN)/python -m tests.bench.peer)" $(BIN)/python -m tests.proof $(ARGS)

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
.PHONY: lock wheels clean
lock: setup ## Pin again what requirements/*.in name (UPGRADE=1 takes the newest)
	@$(PIN) $(if $(UPGRADE),--upgrade) requirements/runtime.in requirements/dev.in -o requirements/lock.txt
	@$(PIN) --no-annotate requirements/runtime.in -c requirements/lock.txt -o requirements/runtime.txt
	@echo hatchling | $(PIN) --no-annotate - -c requirements/lock.txt -o requirements/build.txt
wheels: setup ## Put the libraries' wheels into .wheels/, for image builds that reach no package index
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --use-pep517 --require-hashes --wheel-dir .wheels \
		-r requirements/runtime.txt -r requirements/build.txt
clean: ## Remove caches and .venv (never .data)
	@rm -rf .venv .wheels .proof .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find libs services tests -name __pycache__ -type d -prune -exec rm -rf {} +
