# HoneyImage for FiftyOne: `make demo` and `make test` do all the set-up from a bare clone.
# Needed beforehand: python3 (3.10 or newer), make and git.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

# One thread a test process: two processes that each use every core slow each other down tenfold
PYTEST := OMP_NUM_THREADS=1 $(RUN) -m pytest --numprocesses auto --dist loadfile

# Set-up runs again when what it installs changes, or when the clone has moved (a virtual environment holds its path)
INPUTS := requirements.txt pyproject.toml scripts/set_up.py scripts/private_database.py
STAMP := $(VENV)/ready-$(shell (cat $(INPUTS); pwd) | cksum | cut -d ' ' -f 1)

.PHONY: help setup demo lint test test-fast screenshots browser clean

help:
	@echo "make demo          protect a dataset, verify three models, open the App (APP=0: without the App)"
	@echo "make test          lint and every test, in a headless browser too"
	@echo "make test-fast     the tests that need neither a browser nor much time"
	@echo "make lint          ruff and mypy"
	@echo "make screenshots   the README's pictures, from the test that clicks through the App"
	@echo "make setup         only the set-up, in .venv/"
	@echo "make clean         removes what the other targets left, but .venv/"

$(STAMP):
	$(PYTHON) scripts/set_up.py $(VENV)
	@rm -f $(VENV)/ready-*
	@touch $@

setup: $(STAMP)

demo: $(STAMP)
	$(RUN) -m fiftyone_honeyimage demo $(if $(filter 0,$(APP)),--no-app)

lint: $(STAMP)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

browser: $(STAMP)
	$(RUN) scripts/browser.py

test: lint browser
	$(PYTEST)

test-fast: $(STAMP)
	$(PYTEST) -m "not browser and not slow"

screenshots: browser
	HONEYIMAGE_PICTURES=docs OMP_NUM_THREADS=1 $(RUN) -m pytest tests/app/test_journey.py

clean:
	rm -rf .pytest_cache .ruff_cache .mypy_cache .coverage build dist *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
