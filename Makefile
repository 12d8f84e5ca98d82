# velro-auth: `make` prints this help.

PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
PORT    ?= 8000
# More than cores: half of what a test takes is waiting for other processes.
WORKERS ?= 4
DOCS    ?= 127.0.0.1:8009
HELM    := v3.22.0
UV      := $(shell command -v uv 2>/dev/null)
SUDO    := $(if $(filter 0,$(shell id -u)),,sudo)

RUN_READY  := $(VENV)/.run-ready
TEST_READY := $(VENV)/.test-ready

# For every platform and every Python from 3.11 on.
LOCK_OPTIONS := --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command 'make lock'

.DEFAULT_GOAL := help
.PHONY: help setup run test check format bench faultlab clean client-core client-types dist docs docs-build first-minute helm-tools sbom lock release system-packages

help: ## print this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(RUN_READY) ## run the gateway against a local Supabase (PORT=8100 for another port)
	@exec $(BIN)/velro-auth dev --port $(PORT)

# Bytecode is kept whatever the environment says: the tests start hundreds of processes.
test: check ## set up, then pass every check and every test
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n $(WORKERS) --dist worksteal

check: $(TEST_READY) ## formatting, lint, types, import arrows, spelling
	$(BIN)/ruff format --check --no-cache .
	$(BIN)/ruff check --no-cache .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell

format: $(TEST_READY) ## format the code and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(TEST_READY) ## compare the service with its peers, side by side (about 25 minutes; BENCH=--quick for 5)
ifdef UV
	$(UV) pip install --quiet --python $(BIN)/python --group bench
else
	$(BIN)/pip install --quiet --disable-pip-version-check --group bench
endif
	$(BIN)/python -m benchmarks $(BENCH) --page docs/benchmarks.md
	$(BIN)/python -m benchmarks.verify
	$(BIN)/python -m benchmarks.layers

faultlab: $(TEST_READY) ## break one thing at a time under load (about 30 minutes; FAULTLAB="--only S1,S14 --json F" for some)
	$(BIN)/python -m tests.faultlab $(FAULTLAB)

client-core: ## copy the gateway's token verification into clients/python
	$(PYTHON) clients/python/copy_core.py

client-types: $(TEST_READY) ## write the types of clients/typescript anew, from the gateway's OpenAPI document
	$(BIN)/python -m tools.client_types

dist: $(TEST_READY) ## build wheels, source archives and the npm package into dist/, with hashes and a bill of materials
	$(BIN)/python -m tools.dist

first-minute: $(TEST_READY) ## install the wheels in a new folder, start, log in, and print the times
	$(BIN)/python -m tools.first_minute

helm-tools: ## build Helm into .tools/bin, for the tests of the chart (needs Go; some minutes)
	GOBIN=$(CURDIR)/.tools/bin go install helm.sh/helm/v3/cmd/helm@$(HELM)

lock: $(TEST_READY) ## lock the packages of the service, with their hashes (LOCK=--upgrade takes new releases)
ifdef UV
	$(UV) pip install --quiet --python $(BIN)/python --group lock
else
	$(BIN)/pip install --quiet --disable-pip-version-check --group lock
endif
	$(BIN)/uv pip compile $(LOCK_OPTIONS) $(LOCK) pyproject.toml --output-file requirements.lock
	$(BIN)/uv pip compile $(LOCK_OPTIONS) $(LOCK) --group build --output-file requirements-build.lock
	$(BIN)/uv pip compile $(LOCK_OPTIONS) $(LOCK) --group docs --output-file requirements-docs.lock

sbom: ## print a bill of materials (CycloneDX) of the lock file
	@$(PYTHON) -m tools.sbom

docs: $(TEST_READY) ## serve the documentation site on port 8009 (DOCS=127.0.0.1:8100 for another address)
	@exec $(BIN)/python -m tools.site --serve $(DOCS)

docs-build: $(TEST_READY) ## build the documentation site into site/; a broken link is an error
	$(BIN)/python -m tools.site

release: $(TEST_READY) ## make a release: make release VERSION=0.2.0 (DRY_RUN=1 changes nothing)
	$(BIN)/python -m tools.release $(VERSION) $(if $(DRY_RUN),--dry-run)

setup: $(TEST_READY) ## install everything that developing needs

system-packages: ## install what some tests need: nginx, caddy, redis, … (Debian, Ubuntu)
	$(SUDO) apt-get update -q
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends \
	  python3-venv nginx-light caddy redis-server redis-sentinel postgresql prometheus chromium
	command -v npm >/dev/null || $(SUDO) apt-get install -yq --no-install-recommends nodejs npm

clean: ## remove what was built and the local database
	rm -rf $(VENV) .velro .tools build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; name it: make PYTHON=python3.12 …"; exit 1; }
ifdef UV
	$(UV) venv --quiet --python $(PYTHON) $(VENV)
else
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip
endif

$(RUN_READY): pyproject.toml supabase_standin/pyproject.toml clients/python/pyproject.toml | $(VENV)/bin/python
ifdef UV
	$(UV) pip install --quiet --python $(BIN)/python -e '.[dev]' -e ./supabase_standin -e ./clients/python
else
	@echo "Installing (about half a minute the first time) …"
	@PYTHONWARNINGS='ignore:Editable installation' $(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]' -e ./supabase_standin -e ./clients/python
endif
	@touch $@

$(TEST_READY): pyproject.toml tests/js/package.json clients/typescript/package.json $(RUN_READY)
ifdef UV
	$(UV) pip install --quiet --python $(BIN)/python --group dev
else
	@$(BIN)/pip install --quiet --disable-pip-version-check --group dev
endif
	@if command -v npm >/dev/null; then for folder in tests/js clients/typescript; do \
	  (cd $$folder && npm install --no-package-lock --no-audit --no-fund --silent) || exit 1; done; fi
	@touch $@
