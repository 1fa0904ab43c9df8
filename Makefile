# make demo    train a small network, write saliency maps, score them, draw one picture: demo/ (recipes/demo.sh)
# make test    run the tests
# make coverage   run the tests and print the lines that none runs
# make lint    check style and formatting (ruff)
# make types   check types (mypy)
# make format  format the code and sort its imports (ruff)
# make page    build site/, a page that runs the network lite2 in the browser (docs/page.md)
# make page-test   build the page and test it in headless Chromium
# make docs    build site-docs/, the documentation, and check its links
#
# Each target sets up its virtual environment first.
#
# PYTHON=python3.12   the interpreter that the virtual environment is made with
# VENV=path           the virtual environment's folder, without spaces
# DATA=path/to/ORSSD  a real data set for the demo; SET=ORSSD names it where its folder has another name
PYTHON ?= python3
VENV ?= .venv
DATA ?=
SET ?=

BIN := $(VENV)/bin/python

# The shell reads both from the environment, so that spaces and quotes in them stay what they are.
export DEMO_DATA := $(value DATA)
export DEMO_SET := $(value SET)

.PHONY: demo test coverage lint types format docs
.DELETE_ON_ERROR:

demo: $(VENV)/installed
	@PYTHON="$(abspath $(BIN))" recipes/demo.sh "$$DEMO_DATA" "$$DEMO_SET"

test: $(VENV)/installed-dev
	$(BIN) -m pytest --numprocesses auto --dist loadfile

coverage: $(VENV)/installed-dev
	$(BIN) -m pytest --numprocesses auto --dist loadfile --cov --cov-report term:skip-covered

lint: $(VENV)/installed-dev
	$(BIN) -m ruff check .
	$(BIN) -m ruff format --check .

types: $(VENV)/installed-dev
	$(BIN) -m mypy

format: $(VENV)/installed-dev
	$(BIN) -m ruff check --fix .
	$(BIN) -m ruff format .

docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN) -m mkdocs build --strict

include web/page.mk

$(VENV)/installed: requirements.txt requirements-scoring.txt | $(VENV)/bin/python
	$(BIN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/installed-dev: $(wildcard requirements*.txt) | $(VENV)/bin/python
	$(BIN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

$(VENV)/installed-docs: requirements-docs.txt | $(VENV)/bin/python
	$(BIN) -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	touch $@

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
