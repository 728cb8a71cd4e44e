# make demo   install into .venv and run a first search, about a minute after the install
# make test   install what tests need and run them, but for the slow ones
# make slow   those: CI runs them too
# make long   those that CI leaves out, minutes
# make faults  a short round of every fault: kills, locks, servers that stop, a full disk
# make soak    faults at random, on larger studies, until Ctrl-C or for SOAK="--rounds N"; prints counts
# make quality   how good a search is by what it spends, on tables of curves: TABLES="one.npz two.npz"; two hours for four tables
# make scale   what a study of 10,000 trials costs, on a PostgreSQL of its own; half an hour or more; SCALE="--sampler random"
# make lint types   ruff and mypy, as CI does
# make docs   write the references of docs/ from the code
# make screenshots  make the pictures of docs/ from a real search, in Debian's chromium; two minutes
# make .env   draw the secrets of docker-compose.yml, once
# make audit  known weaknesses of what is installed; skipped where their database does not answer
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# tests wait for processes most of the time; each worker has a Ray of its own
WORKERS ?= 2

.PHONY: demo test slow long faults soak scale quality lint types docs screenshots audit clean

demo: $(VENV)/installed
	$(BIN)/hpo run --space search_spaces/quickstart.yaml

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

slow: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m "slow and not long" -n $(WORKERS) --dist loadfile

long: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m long

faults: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m "slow or long" tests/faults

soak: $(VENV)/installed-dev
	PYTHONPATH=tests:. $(BIN)/python tests/faults/soak.py $(SOAK)

quality: $(VENV)/installed-dev
	$(BIN)/python -m benchmarks.search_quality $(TABLES)

scale: $(VENV)/installed-dev
	$(BIN)/python -m benchmarks.scale $(SCALE)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-dev
	$(BIN)/mypy

docs: $(VENV)/installed-dev
	PYTHONPATH=. $(BIN)/python docs/references.py

screenshots: $(VENV)/installed-dev
	PYTHONPATH=. $(BIN)/python docs/screenshots.py

audit: $(VENV)/installed-dev
	@.ci/audit $(BIN)/python

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "hpo needs Python 3.11 or newer; make PYTHON=python3.12 ..."'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV): some minutes, most of them PyTorch's"
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-dev: pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV): some minutes, most of them PyTorch's"
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/installed

.env:
	@umask 077; { echo MLFLOW_TRACKING_USERNAME=admin; \
	for name in MLFLOW_TRACKING_PASSWORD MLFLOW_FLASK_SERVER_SECRET_KEY POSTGRES_PASSWORD PGPASSWORD RAY_AUTH_TOKEN; do \
		echo "$$name=$$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')"; done; } > $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache *.egg-info
