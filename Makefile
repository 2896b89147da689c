# Every target sets itself up on a fresh machine; only Python 3.11 or later is needed.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready
OLDEST = .venv-oldest
LEFT_OUT = .ci/oldest_excludes.txt
DOCS = .venv-docs
SITE = build/docs

.PHONY: run test test-oldest lint bench guides docs docs-serve gpu clean

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

# What the guides' scripts print and draw; GUIDES names some of them.
guides: $(READY)
	$(BIN)/python -m docs.make_guides $(GUIDES)

# The site, from docs/ and the docstrings. A broken link, a page that no list of contents has and a public
# name without docstring are errors, and so is a script, a style or an image of another host.
docs: $(DOCS)/.ready
	$(DOCS)/bin/sphinx-build --quiet --fresh-env --fail-on-warning docs $(SITE)
	! grep -rE --include="*.html" '<(script|link|img)[^>]+(src|href)="(https?:)?//' $(SITE)

docs-serve: docs
	$(DOCS)/bin/python -m http.server --bind 127.0.0.1 --directory $(SITE) 8000

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

# The tools of the extra alone: pages are made from the package's source, which is not imported.
$(DOCS)/.ready: pyproject.toml
	$(PYTHON) -m venv --clear $(DOCS)
	$(DOCS)/bin/python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
		print(*project['optional-dependencies']['docs'], sep='\n')" > $(DOCS)/requirements.txt
	$(DOCS)/bin/python -m pip install --quiet --requirement $(DOCS)/requirements.txt
	touch $@

# On a machine with GPUs, with a TensorFlow that sees them.
gpu: $(READY)
	$(BIN)/python -m benchmarks.gpu

clean:
	rm -rf $(VENV) $(OLDEST) $(DOCS)
