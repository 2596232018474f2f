# Two commands are the whole set-up: `make demo` and `make test`. Both make the virtual environment first.
VENV := .venv
PY   := $(VENV)/bin/python
PYTHON ?= python3

.DEFAULT_GOAL := help
.PHONY: help demo test slow faults lint clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# (re)made whenever what it installs changes; compiled here, since each worker is a process of its own
$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Consilium needs Python 3.11 or newer; this is %d.%d. Try: make PYTHON=python3.12 $(MAKECMDGOALS)" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@echo "installing into $(VENV), the first time only …"
	@began=$$(date +%s); $(PYTHON) -m venv $(VENV) \
	  && $(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]' \
	  && $(PY) -m compileall -q workers producers shared db embedded panel \
	  && touch $@ && echo "installed in $$(($$(date +%s) - began)) s"

demo: $(VENV)/.ready ## the whole story in two minutes: 20 vignettes, one killed worker, 20 consensuses (simulated models)
	@$(VENV)/bin/consilium demo

test: lint ## every check and every test, but for those of minutes: slow, faults
	$(PY) -m pytest -n 2 -m "not slow"

slow: $(VENV)/.ready ## what takes minutes: whole deployments, also on RabbitMQ, and as docker-compose.yml says
	$(PY) -m pytest -m slow

faults: $(VENV)/.ready ## the fault suite; SCENARIO=24,25 SIZE=5000 SEED=1 WITHOUT=claim,sweeper,late-ack JOBS=2 AGAIN=1
	$(PY) -m tests.faults $(if $(SCENARIO),--scenario $(SCENARIO)) $(if $(SIZE),--size $(SIZE)) \
	  $(if $(SEED),--seed $(SEED)) $(if $(WITHOUT),--without $(WITHOUT)) $(if $(JOBS),--jobs $(JOBS)) $(if $(AGAIN),--again)

lint: $(VENV)/.ready ## style, types and the direction of imports
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

clean: ## remove the virtual environment and the embedded data
	rm -rf $(VENV) .consilium build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
