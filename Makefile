# The two commands of the README are `make demo` and `make test`; each does all set-up itself, in .venv.

PYTHON ?= python3
# The oldest Python that is promised, for test-lowest.
PYTHON311 ?= python3.11
BIN := .venv/bin
# Files side by side on a few cores, which halves the time; threads of the kernels that wait do not spin meanwhile. Bytecode
# is kept, also where the environment forbids it, as containers do: else each worker rewrites the asserts of all tests.
PYTEST = PYTHONDONTWRITEBYTECODE= OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -p no:benchmark -n auto --maxprocesses 4 --dist loadfile

.PHONY: demo test quick check test-dask test-lowest dist fuzz coverage bench bench-compare bench-peers papers clean

demo: .venv/demo.stamp
	@$(BIN)/fastnmf demo $(DEMO)

test: .venv/test.stamp
	@$(PYTEST) $(TEST)

# What breaks first, in under a minute once the kernels are compiled; tests/quick.py names it.
quick: .venv/test.stamp
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(PYTEST) -q -m quick $(TEST)

check: .venv/test.stamp
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(PYTEST) $(TEST)

# Fits on Dask, with worker processes that are killed; `make test` runs a part of them in one process. Some minutes.
test-dask: .venv/test.stamp
	@FASTNMF_DASK=1 $(BIN)/python -m pytest -p no:benchmark tests/test_dask.py tests/test_dask_cluster.py $(TEST)

# The oldest versions that pyproject.toml allows, in .venv-lowest, with compiled kernels of their own. Golden numbers are
# then compared to a tolerance, because other versions round otherwise (`stamp` in tests/golden.py).
test-lowest: BIN := .venv-lowest/bin
test-lowest: export NUMBA_CACHE_DIR := $(CURDIR)/.venv-lowest/kernels
test-lowest: .venv-lowest/test.stamp
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(PYTEST) $(TEST)

# The sdist and the wheel in dist/, built and tried in fresh environments; a minute.
dist: .venv/python.stamp
	@$(BIN)/python .ci/dist.py

# Longer searches for what the fixed cases of `make test` stand for: 20,000 generated cases, others with checked indices
# and without the compiler, 2,000 altered files, 1,000 interrupts. About fifteen minutes on two cores.
fuzz: .venv/test.stamp
	@FASTNMF_FUZZ=20000 FASTNMF_ALTERED=2000 FASTNMF_MOMENTS=1000 $(PYTEST) --dist load -rP $(FUZZ) \
		tests/test_fuzz.py tests/test_altered.py tests/test_interrupts.py

# Plain Python instead of compiled kernels, so that every line of them counts; about five minutes.
coverage: .venv/test.stamp
	@NUMBA_DISABLE_JIT=1 $(BIN)/python -m coverage run -m pytest -q $(TEST)
	@$(BIN)/python -m coverage report --skip-covered

bench: .venv/test.stamp
	@$(BIN)/python -m pytest bench -c bench/pytest.ini --benchmark-autosave $(BENCH)
	@$(BIN)/python bench/versus_baselines.py

# COMPARE=--store keeps the newest run of `make bench` as the one to compare with.
bench-compare: .venv/test.stamp
	@$(BIN)/python bench/compare.py $(COMPARE)

# More than an hour on two idle cores; PEERS="--quick" or PEERS="--sections kl,nmf" take less. PEERS="--against FOLDER"
# measures another checkout too.
bench-peers: .venv/test.stamp
	@$(BIN)/python bench/peers/run.py $(PEERS)

# The paper's experiments, published beside measured: under ten minutes on two idle cores. PAPERS="--quick" takes
# less than one; PAPERS="--experiments housing" runs one again.
papers: .venv/test.stamp
	@$(BIN)/python bench/papers/chapman2023.py $(PAPERS)

.PHONY: docs
# The pages in docs/_build/html/index.html, from the docstrings and docs/*.md, with the figures that the code on them
# draws; a warning is an error. Some two minutes.
docs: .venv/docs.stamp
	@rm -rf docs/_api
	@$(BIN)/python -m sphinx -W --keep-going -q -j 2 -d docs/_build/doctrees docs docs/_build/html

clean:
	rm -rf .venv .venv-lowest build dist fastnmf-demo .pytest_cache .ruff_cache .benchmarks .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf docs/_api docs/_build docs/_gallery

.venv/python.stamp:
	@command -v $(PYTHON) >/dev/null || { echo "No '$(PYTHON)' here; install Python 3.11 or newer, or name it: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "fastnmf needs Python 3.11 or newer, and '$(PYTHON)' is `$(PYTHON) --version`; name another: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Setting up a virtual environment in .venv ..."
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/docs.stamp: .venv/python.stamp pyproject.toml
	@echo "Installing fastnmf and what its pages need ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[docs]"
	@touch $@

# The demo needs fastnmf and matplotlib. pip would compile all files of all packages to bytecode; Python compiles those
# that the demo imports when it imports them. Both together save 17 of 53 s on a fresh clone.
.venv/demo.stamp: .venv/python.stamp pyproject.toml
	@echo "Installing fastnmf and what the demo needs ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable ".[plot]"
	@touch $@

.venv/test.stamp: .venv/python.stamp pyproject.toml
	@echo "Installing fastnmf and what its tests need ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test]"
	@touch $@ .venv/demo.stamp

.venv-lowest/test.stamp: pyproject.toml tests/constraints-lowest.txt
	@command -v $(PYTHON311) >/dev/null || { echo "No '$(PYTHON311)' here; install Python 3.11, the oldest that fastnmf promises, or name it: make PYTHON311=/path/to/python3.11 ..."; exit 1; }
	@$(PYTHON311) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "'$(PYTHON311)' is `$(PYTHON311) --version`, and the oldest that fastnmf promises is Python 3.11; name it: make PYTHON311=/path/to/python3.11 ..."; exit 1; }
	@echo "Setting up the oldest versions that fastnmf promises in .venv-lowest ..."
	@$(PYTHON311) -m venv --clear .venv-lowest
	@.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check --constraint tests/constraints-lowest.txt --editable ".[test]"
	@touch $@
