# make demo   trains two agents on handwritten digits, about two minutes
# make test   checks style and types, then runs all tests
#
# Both make the environment .venv first, from the pinned requirements.txt.

PYTHON ?= python3
BIN := .venv/bin

demo: .venv/installed
	$(BIN)/python -m emcom_jax.main --config=configs/lewis.py

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy emcom_jax emcom_datasets
	$(BIN)/python -m pytest -n 2 --dist loadfile

benchmark: .venv/installed
	$(BIN)/python -m benchmarks.population

.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one as: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.PHONY: demo test benchmark
