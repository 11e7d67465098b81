# Everything a developer does with the project. `make` alone lists it.

PYTHON ?= python3
PORT ?= 8000
VENV ?= .venv

BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
NODE := tests/javascript/node_modules
NODE_STAMP := $(NODE)/.stamp
PHOENIX := .venv-phoenix
PHOENIX_STAMP := $(PHOENIX)/.stamp
TSC := node $(NODE)/typescript/bin/tsc --project tests/javascript
WATCHED := chatsite chatkit_endpoint observability templates locale

# Development goes without TLS and makes its own secret key; production sets this to 0.
DJANGO_DEBUG ?= 1
export DJANGO_DEBUG

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo run test test-postgres test-phoenix faults screenshots bench lint lock clean FORCE

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

install: $(STAMP) ## Make .venv and install what requirements.lock names

demo: $(STAMP) ## Serve the demo on 127.0.0.1:$PORT (8000), with people and turns to look at
	$(BIN)/python manage.py demo --port $(PORT)

run: $(STAMP) ## Serve the site on 127.0.0.1:$PORT (8000), reloading when the code changes
	$(BIN)/python manage.py migrate --verbosity 0
	$(BIN)/uvicorn chatsite.asgi:application --host 127.0.0.1 --port $(PORT) \
		--timeout-graceful-shutdown 5 \
		--reload $(patsubst %,--reload-dir %,$(wildcard $(WATCHED))) \
		--reload-include '*.html' --reload-include '*.mo'

test: $(STAMP) ## Run the tests on SQLite; ARGS="-k name" goes to pytest
	DATABASE_URL= $(BIN)/python -m pytest $(ARGS)

test-postgres: $(STAMP) ## Run the tests on a temporary PostgreSQL cluster
	$(BIN)/python -m tests.postgres -- $(BIN)/python -m pytest $(ARGS)

test-phoenix: $(STAMP) $(PHOENIX_STAMP) ## Read a turn back from a real Arize Phoenix, in a venv of its own
	$(BIN)/python -m pytest tests/observability/test_phoenix.py $(ARGS)

faults: $(STAMP) ## Do all that can go wrong, at its full size, on SQLite and PostgreSQL: an hour
	DATABASE_URL= FAULTS=whole $(BIN)/python -m pytest --timeout 3600 tests/faults $(ARGS)
	FAULTS=whole $(BIN)/python -m tests.postgres -- \
		$(BIN)/python -m pytest --timeout 3600 tests/faults $(ARGS)

bench: $(STAMP) ## Measure everything, for four hours; python -m benchmarks.streaming --help for one
	for name in streaming "streaming --own-core" recorder storing store draining start purging reading collector_down; do \
		echo "## $$name"; $(BIN)/python -m benchmarks.$$name || exit 1; \
	done

screenshots: $(STAMP) ## Take pictures of the pages into var/screenshots, README's into docs/images
	DATABASE_URL= $(BIN)/python -m pytest tests/browser/test_screenshots.py
	cp var/screenshots/chat.png var/screenshots/turn.png docs/images/

# Production's settings, as `check --deploy` wants them; the key lives as long as the command.
lint: export DATABASE_URL := sqlite://:memory:
lint: $(STAMP) $(NODE_STAMP) ## Lint, check types, layers, migrations and the deployment settings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(TSC)
	$(TSC)/tsconfig.element.json
	$(BIN)/lint-imports --no-logo
	$(BIN)/python manage.py makemigrations --check --dry-run
	DJANGO_DEBUG=0 \
	DJANGO_SECRET_KEY="$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(64))')" \
	DJANGO_ALLOWED_HOSTS=chat.example.com \
	DJANGO_CSRF_TRUSTED_ORIGINS=https://chat.example.com \
	DATABASE_URL=postgres://chat@localhost/chat \
	OPENAI_API_KEY=a-key CHATKIT_DOMAIN_KEY=a-key ANOSYS_API_KEY=a-key \
	$(BIN)/python manage.py check --deploy --fail-level WARNING

lock: $(STAMP) ## Resolve pyproject.toml anew into requirements.lock
	$(BIN)/uv pip compile pyproject.toml --quiet --upgrade --universal --python-version 3.11 \
		--all-extras --group dev --generate-hashes --no-emit-index-url \
		--custom-compile-command "make lock" --output-file requirements.lock

clean: ## Remove virtual environments, caches and build output; var/ keeps its data
	rm -rf .venv .venv-* build dist .import_linter_cache .mypy_cache .pytest_cache .ruff_cache $(NODE)
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# A venv whose Python was upgraded away or removed is of no use, however new it is.
ifneq ($(shell $(BIN)/python -c 'print("here")' 2>/dev/null),here)
$(STAMP): FORCE
endif

$(STAMP): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Python 3.11 or newer is needed; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true)" >&2; \
		echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Installing requirements.lock into $(VENV) with $$($(PYTHON) --version): a minute or two."
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		--requirement requirements.lock
	@touch $@

# What type-checks the browser's code; nothing of it is shipped.
$(NODE_STAMP): tests/javascript/package-lock.json
	npm ci --prefix tests/javascript --no-progress --silent
	@touch $@

# Apart from ours: its hundred packages, 900 MB of them, would pin what the site runs on. Without
# compiling all of them it is there in a third less time.
$(PHOENIX_STAMP):
	@echo "Installing Arize Phoenix into $(PHOENIX) with $$($(PYTHON) --version): a minute or two."
	rm -rf $(PHOENIX)
	$(PYTHON) -m venv $(PHOENIX)
	$(PHOENIX)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
		'arize-phoenix>=20,<21'
	@touch $@
