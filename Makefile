# `make` alone lists the commands. PYTHON makes the virtual environment: 3.11 or 3.12.
PYTHON ?= $(firstword $(foreach python,python3.11 python3.12 python3,$(shell command -v $(python) >/dev/null && $(python) -c \
  'import sys; sys.exit(sys.version_info[:2] not in {(3, 11), (3, 12)})' 2>/dev/null && echo $(python))))
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

LOCK := --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes --custom-compile-command "make lock"
RELEASES = $(or $(CHURN_RELEASES),releases)
PORT := 8000
BASE := origin/main

# an environment that somebody else made, or uses by a link, is never emptied
define NOT_OURS
@if [ -L .venv ]; then echo ".venv is a link to $$(readlink .venv), which make leaves alone; remove the link (rm .venv)" >&2; exit 1; fi
@if [ -e .venv ] && [ ! -e .venv/.made-by-make ] && [ ! -e .venv/bin/.installed ]; then \
  echo ".venv was not made by make, which leaves it alone; move it away (mv .venv .venv-mine)" >&2; exit 1; fi
endef

.DEFAULT_GOAL := help
.PHONY: help setup repro test lint image secrets serve demo verify review audit expectations spark bench lock

help: ## list the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(BIN)/.installed ## make .venv and install requirements.txt

$(BIN)/.installed: requirements.txt
	$(if $(PYTHON),,$(error no Python 3.11 or 3.12 found; name one: make setup PYTHON=/path/to/python3.11))
	$(NOT_OURS)
	$(PYTHON) -m venv --clear .venv
	touch .venv/.made-by-make
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.txt
	touch $@

repro: setup ## run the stages that are stale (dvc repro)
	dvc repro

serve: setup ## serve the champion on http://127.0.0.1:8000 (adds models/release to the store; the first one is promoted)
	test -e $(RELEASES)/state.json -a ! -e models/release || \
	  python -m serve.releases add models/release $$(test -e $(RELEASES)/state.json || echo --promote) --reason "make serve"
	uvicorn serve.app:app --port $(PORT)

demo: setup ## the closed loop in minutes, told step by step: drift, retraining, promotion, rollback
	python -m demo

test: setup .venv/expectations/.installed .venv/browser/.installed ## every test, the fast ones first
	pytest -m "not e2e"
	pytest -m slow
	pytest -m "e2e and not alone"
	pytest -m "e2e and alone" -n 0

lint: setup ## ruff, mypy and the linters of the other files, as far as they are installed
	ruff check .
	ruff format --check .
	mypy
	yamllint --strict .
	hadolint serve/Dockerfile
	shellcheck .ci/run .ci/actionlint/run $(wildcard ops/*.sh ops/*/*.sh)
	kubernetes-validate --strict --quiet --no-warn ops/k8s/*.yaml
	check-jsonschema --builtin-schema vendor.compose-spec ops/compose.yaml
	check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	zizmor --offline --quiet --persona pedantic .github
	.ci/actionlint/run
	@if command -v promtool && command -v amtool; then promtool check config ops/prometheus/prometheus.yml && \
	  promtool test rules ops/prometheus/tests/*.yml && amtool check-config ops/alertmanager/alertmanager.yml; \
	else echo "promtool or amtool is not installed: alerts are not checked"; fi

image: ## the service's container image, churn-service (needs docker)
	docker build -f serve/Dockerfile -t churn-service --build-arg REVISION=$$(git rev-parse HEAD) \
	  --build-arg VERSION=$$(git describe --tags --always --dirty) .

secrets: ## random passwords for ops/compose.yaml; what is there stays
	@ops/secrets.sh

verify: setup ## rebuild in a temporary clone and compare with what is committed
	python -m review.verify

review: setup ## compare metrics and parameters with BASE, as a pull request does
	python -m review $(BASE) $(if $(LINK),--link $(LINK))

.venv/audit/.installed: .ci/audit/requirements.txt
	$(NOT_OURS)
	$(PYTHON) -m venv --clear .venv/audit
	.venv/audit/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

audit: setup .venv/audit/.installed ## known vulnerabilities, insecure code, secrets, licences
	python -m review.audit

# made again with .venv, whose making empties it
.venv/expectations/.installed: .ci/expectations/requirements.txt $(BIN)/.installed
	$(PYTHON) -m venv --clear .venv/expectations
	.venv/expectations/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	touch $@

expectations: setup .venv/expectations/.installed ## Great Expectations on the table, by its schema; writes Data Docs
	dvc repro --quiet load
	.venv/expectations/bin/python -m review.expectations $(if $(SUITE),--suite $(SUITE))

# --no-build-isolation: it is built by the setuptools that requirements.txt pins
.venv/spark/.installed: .ci/spark/requirements.txt $(BIN)/.installed
	rm -rf .venv/spark
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --no-build-isolation \
	  --target .venv/spark -r $<
	touch $@

spark: setup .venv/spark/.installed ## pyspark in .venv/spark: PYTHONPATH=.venv/spark python -m serve.score --engine spark

.venv/browser/.installed: .ci/browser/requirements.txt $(BIN)/.installed
	rm -rf .venv/browser
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --target .venv/browser -r $<
	touch $@

bench: setup ## the benchmarks, as ratios against baselines measured in the same run
	python -m benchmarks.pipeline
	python -m benchmarks.service

lock: ## pin each requirements.in into the requirements.txt beside it (needs uv)
	uv pip compile $(LOCK) requirements.in -o requirements.txt
	uv pip compile $(LOCK) --constraint requirements.txt serve/requirements.in -o serve/requirements.txt
	uv pip compile $(LOCK) .ci/audit/requirements.in -o .ci/audit/requirements.txt
	uv pip compile $(LOCK) --constraint requirements.txt .ci/expectations/requirements.in -o .ci/expectations/requirements.txt
	uv pip compile $(LOCK) .ci/spark/requirements.in -o .ci/spark/requirements.txt
	uv pip compile $(LOCK) --constraint requirements.txt .ci/browser/requirements.in -o .ci/browser/requirements.txt
