# Everything a fresh machine needs is made by the targets themselves:
#   make crawl URL=https://example.com     the first crawl
#   make test                              all tests
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
#: The oldest Scrapy that is supported; its tests run in an environment of their own.
OLDEST_SCRAPY := 2.14.0
SAVE   ?= pages.tar.gz
DEPTH  ?= 2
#: Processes that share the tests; most of them wait most of the time.
JOBS   ?= 3

.PHONY: help crawl test test-newest test-oldest lint bench mutations soak soak-doors soak-crawl docs clean redis kafka shells chromium prometheus helm

help:
	@echo "make crawl URL=https://example.com [DEPTH=2] [SAVE=pages.tar.gz] [ARGS=...]"
	@echo "make test | lint | bench | mutations | soak | soak-doors | soak-crawl | docs | clean"

crawl: $(VENV)/installed
	@test -n "$(URL)" || { echo "make crawl: say which site: make crawl URL=https://example.com" >&2; exit 2; }
	$(BIN)/fleet crawl $(URL) --depth $(DEPTH) --save $(SAVE) $(ARGS)

test: test-newest test-oldest

test-newest: $(VENV)/installed-test redis kafka shells chromium prometheus helm
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m 'not alone' $(ARGS)
	$(BIN)/python -m pytest -m alone $(ARGS) || [ $$? = 5 ] # 5: ARGS choose none

test-oldest: $(VENV)-oldest/installed-test redis
	$(VENV)-oldest/bin/python -m pytest tests/unit tests/integration/test_scheduler_cases.py

lint: $(VENV)/installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/audit-dependencies

bench: $(VENV)/installed-test redis kafka
	$(BIN)/python -m bench $(ARGS)

mutations: $(VENV)/installed-test redis kafka
	$(BIN)/python -m tests.mutations $(ARGS)

soak: $(VENV)/installed-test redis kafka
	$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),10) $(ARGS)

soak-doors: $(VENV)/installed-test redis kafka
	DOOR_CASES=$(or $(CASES),10000) $(BIN)/python -m pytest -n $(JOBS) tests/doors $(ARGS)

soak-crawl: $(VENV)/installed-test redis
	$(BIN)/python -m pytest tests/acceptance/test_kill.py --soak $(or $(MINUTES),10) $(ARGS)

docs: $(VENV)/installed-docs
	$(BIN)/mkdocs build --strict
	@echo "build/docs/index.html"

redis:
	@tools/need-redis

kafka:
	@tools/need-kafka

shells:
	@tools/need-shells

chromium:
	@tools/need-chromium

prometheus:
	@tools/need-prometheus

#: At a desk its tests are skipped without it.
helm: $(VENV)/installed-test
	@PIP=$(BIN)/pip tools/need-helm >/dev/null || test -z "$$CI"

$(VENV)/installed: setup.py pyproject.toml
	tools/make-venv "$(PYTHON)" $(VENV)
	$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(BIN)/pip install --quiet --editable ".[docs]"
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/pip install --quiet --editable ".[test]"
	@touch $@

$(VENV)/installed-lint: $(VENV)/installed-test
	$(BIN)/pip install --quiet --editable ".[lint]"
	@touch $@

$(VENV)-oldest/installed-test: setup.py pyproject.toml
	tools/make-venv "$(PYTHON)" $(VENV)-oldest
	$(VENV)-oldest/bin/pip install --quiet --editable ".[test]" "scrapy==$(OLDEST_SCRAPY)"
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-oldest build dist *.egg-info .tox .mypy_cache .ruff_cache .pytest_cache .hypothesis
