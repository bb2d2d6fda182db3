# Two commands for everyone: `make demo` and `make test`. Both need only python3 and make.
PYTHON ?= python3
PY := .venv/bin/python
AUTO ?=
ONLY ?=
ARGS ?=
SECONDS ?= 600
export AUTO

.DEFAULT_GOAL := help
.PHONY: help demo test test-long chaos check bench docs fmt lock clean env-run env-dev

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: env-run ## Show the main job on this machine (AUTO=1: unattended)
	@$(PY) -m valetkey.cli.demo

test: env-dev ## Run the tests (ARGS=… go to pytest)
	@$(PY) -m tests.real.node
	@$(PY) -m pytest -q -n 2 --dist worksteal -m "not long" $(ARGS)

test-long: env-dev ## Run the tests that take long
	@$(PY) -m tests.real.node
	@$(PY) -m pytest -q -m long $(ARGS)

chaos: env-dev ## Break all that can break, and check the history (SECONDS=…; ARGS=--write keeps the report)
	@$(PY) -m tests.chaos --seconds $(SECONDS) $(ARGS)

check: env-dev ## Run every gate: format, lint, types, imports, docs, manifest, words
	@$(PY) -m tools.check

bench: env-dev ## Measure, and write bench/RESULTS.md (ONLY=name: one)
	@$(PY) bench/run.py $(ONLY)

docs: env-dev ## Write again what is generated: the tree, the conformance page
	@$(PY) -m tools.architecture --write
	@$(PY) -m tools.requirements_manifest --write
	@$(PY) -m tools.reference --write

fmt: env-dev ## Format, and mend what ruff can
	@$(PY) -m ruff check --fix-only --quiet .
	@$(PY) -m ruff format --quiet .

COMPILE = .venv/bin/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-header pyproject.toml

lock: env-dev ## Pin the requirements again (UPGRADE=1: to the newest)
	@$(COMPILE) $(if $(UPGRADE),--upgrade) --group dev -o requirements/dev.txt
	@$(COMPILE) $(if $(UPGRADE),--upgrade) --group run -c requirements/dev.txt -o requirements/run.txt
	@$(COMPILE) $(if $(UPGRADE),--upgrade) --group build --extra crewai -o requirements/crewai.txt
	@echo "lock: requirements/dev.txt, run.txt and crewai.txt are written"

clean: ## Remove the environment, caches and builds
	@rm -rf .venv .venv-crewai build dist tests/real/node_modules .mypy_cache .ruff_cache .import_linter_cache .hypothesis .pytest_cache
	@find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

env-run:
	@$(PYTHON) tools/environment.py run

env-dev:
	@$(PYTHON) tools/environment.py dev
