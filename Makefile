# Every target sets itself up on a fresh machine; only Python 3.11 or later is needed.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready
OLDEST = .venv-oldest
LEFT_OUT = .ci/oldest_excludes.txt

.PHONY: run test test-oldest lint bench gpu clean

run: $(READY)
	$(BIN)/python main.py --flagfile=digits_width

test: $(READY)
	$(BIN)/python -m pytest -n auto

# With every dependency at its lower bound; TESTS names some of the tests.
test-oldest: $(OLDEST)/.ready
	WNA_TF_OLDEST=1 $(OLDEST)/bin/python -m pytest -n auto $(TESTS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m benchmarks

$(READY): requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@

$(OLDEST)/.ready: requirements.txt pyproject.toml $(LEFT_OUT)
	$(PYTHON) -m venv --clear $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet uv
	$(OLDEST)/bin/uv pip install --quiet --python $(OLDEST)/bin/python \
		--resolution lowest-direct --excludes $(LEFT_OUT) --editable ".[test]"
	touch $@

# On a machine with GPUs, with a TensorFlow that sees them.
gpu: $(READY)
	$(BIN)/python -m benchmarks.gpu

clean:
	rm -rf $(VENV) $(OLDEST)
