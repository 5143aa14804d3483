# Every target creates a virtual environment in .venv if needed. PYTHON may name another Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin
# One thread per process, because small models are many times slower with several threads on shared cores.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test check lint check-full bench docs dist lock clean
.DEFAULT_GOAL := help

help:
	@echo "make demo        run the whole pipeline once on a CPU: index, counts, unlearning, evaluation, report"
	@echo "make test        run the tests"
	@echo "make check       run ruff, mypy, pyright, import-linter and the tests"
	@echo "make check-full  run the linters, the slow tests, the tests of compiled code with bounds checks, and the container"
	@echo "                 stack if there is a container engine; STAGES='tests bounds' runs only some of lint tests bounds stack"
	@echo "make bench       compare with other programs; BENCH='NAME... --corpus CORPUS --facts FACTS' chooses benchmarks and input"
	@echo "make docs        write the documentation site to site/"
	@echo "make dist        build the wheels and the source archive, and check what the package index will show"
	@echo "make lock        pin all packages again after a change of the dependencies in pyproject.toml"

# The locks pin every package with its hashes. torch is pinned in constraints.txt, because its CPU build has other hashes.
define install
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement $(1)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
endef

.venv/user: pyproject.toml constraints.txt unlearn/requirements.lock
	$(call install,unlearn/requirements.lock)
	@touch $@

.venv/dev: pyproject.toml constraints.txt .ci/requirements.lock
	$(call install,.ci/requirements.lock)
	@touch $@ .venv/user

.venv/bench: .venv/dev
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,bench]"
	@touch $@

# Every recent x86 processor has AVX2. With other vector instructions, PyTorch trains other weights, and the numbers differ
# from those in docs/demo.md.
demo: .venv/user
	ATEN_CPU_CAPABILITY=avx2 $(BIN)/factcensus demo --out demo

# Number of test processes; each file of tests runs in one of them. TEST_JOBS=0 runs all tests in this process.
TEST_JOBS ?= 2

test: .venv/dev
	$(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadfile --no-loadscope-reorder

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy indexer api unlearn eval
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

check: lint test

# STAGES='tests bounds' runs only these stages of .ci/check_full.py.
check-full: .venv/dev
	@TEST_JOBS=$(TEST_JOBS) $(BIN)/python .ci/check_full.py $(STAGES)

bench: .venv/bench
	$(BIN)/python -m benchmarks $(BENCH)

docs: .venv/dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --config-file .ci/site/mkdocs.yml
	@echo "site/ is written; read it with: python3 -m http.server --bind 127.0.0.1 --directory site"

# One wheel with compiled code for this Python where a C compiler is installed, and one without for all others. The package
# index accepts compiled code for Linux only under the name of the oldest C library that it works with: auditwheel.
dist: .venv/dev
	rm -rf dist
	$(BIN)/python -m build --quiet
	for wheel in dist/*-linux_*.whl; do [ ! -e "$$wheel" ] || \
	  { PATH="$(CURDIR)/$(BIN):$$PATH" auditwheel repair --wheel-dir dist "$$wheel" && rm "$$wheel"; } || exit 1; done
	FACTCENSUS_NATIVE=0 $(BIN)/python -m build --quiet --wheel
	$(BIN)/twine check --strict dist/*

# After a change of the dependencies in pyproject.toml.
lock: .venv/dev
	$(BIN)/python -m pip install --quiet uv
	PATH="$(CURDIR)/$(BIN):$$PATH" .ci/lock

clean:
	rm -rf .venv dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find indexer -name "*.nbc" -delete
