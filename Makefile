# feedmill's whole set-up is `make run` or `make test`; both need Python 3.11 or newer and nothing else.
.PHONY: help campaigns cost run test test-secure sbom check format bench chaos alarms mutation fuzz evaluate wheel image deploy-test vendor pictures lock clean
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOCK := requirements.lock

# The first of these that is new enough; `make PYTHON=...` chooses another.  The distribution's goes
# first: it is built with profile-guided optimization, unlike what pyenv builds, and the worker takes
# a tenth to a fifth less processor time.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in /usr/bin/python3 python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import ensurepip, venv; $(NEW_ENOUGH)' 2>/dev/null && echo $$python && break; done)

# How many seconds `make run` goes on; empty: until Ctrl-C.
FOR ?=
# Why `make evaluate` may look at the test rows; empty: it may not.
LOOK ?=
# More arguments for `feedmill run`, or for pytest: `make test ARGS='-k feed'`.
ARGS ?=
# How long `make fuzz` works on each of `TARGETS`; empty: on all.
SECONDS ?= 30
TARGETS ?=

# How many processes `make test` runs files of tests in, on one Kafka and Redis: tests of a running
# engine mostly wait.  0: one after another, in this process, as a debugger wants it.
JOBS ?= 2

# Real servers on a machine that others load: a few tests may fail once.  Each that does is printed
# with its failure, as `RERUN`, and is a defect to mend: of the test's waiting, or of feedmill.
AGAIN := --reruns 1 --max-suite-reruns 5 --rerun-show-tracebacks

# The tests of `make check`, which read the tree and run nothing.  `make check test` runs them among
# all tests, in several processes.
CHECKS := tests/test_imports.py tests/test_house.py tests/test_docs.py tests/test_status.py \
	tests/events/test_schema.py
ONLY_CHECKS := $(if $(filter test,$(MAKECMDGOALS)),,$(CHECKS))

# `make chaos`: LONG=1 for many rounds, ONLY=kill_worker for one scenario, SEED=7 to draw the same again.
# `make alarms`: ONLY=redis_away for one fault, QUIET=0 without the quiet hour before.
QUIET ?=
LONG ?=
ONLY ?=
SEED ?=

# `make deploy-test`; the image of BEFORE takes turns with that of this commit.
BEFORE ?= HEAD~1
GO := $(CURDIR)/.feedmill/go
KEDA := github.com/kedacore/keda/v2@v2.17.2
OPERATOR := github.com/prometheus-operator/prometheus-operator@v0.85.0

# `make image`; FLAGS go to the builder, such as --isolation chroot where it runs without namespaces.
CONTEXT := .feedmill/image
BUILD := $(if $(shell command -v buildah),buildah bud --format docker,docker build)
TAG ?= feedmill:$(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
BASE ?=
BUILD_BASE ?=
FLAGS ?=

# LightGBM wants a libgomp.so.1, which not every machine has; scikit-learn's wheel brings one.
OPENMP := $(VENV)/openmp
export LD_LIBRARY_PATH := $(CURDIR)/$(OPENMP)$(if $(LD_LIBRARY_PATH),:$(LD_LIBRARY_PATH))

# Tests start hundreds of processes, each of which would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

# mypy finds these folders as `feedmill` and tests/builders as `builders`, through links.
TYPING := $(VENV)/typing
PACKAGES := tables events features models filters rankers training experiments streams operations simulation readers deploy console cli

define link_for_mypy
	@rm -rf $(TYPING) && mkdir -p $(TYPING)/feedmill
	@for folder in $(PACKAGES); do ln -s ../../../$$folder $(TYPING)/feedmill/$$folder; done
	@ln -s ../../tests/builders $(TYPING)/builders
	@ln -s ../../tests/chaos $(TYPING)/chaos
	@ln -s ../../tests/alarms $(TYPING)/alarms
	@touch $(TYPING)/.linked
endef

help: ## Say what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(STAMP) ## The whole engine with a simulated demo; FOR=60 ends it after a minute
	@$(BIN)/feedmill run --demo $(if $(FOR),--for $(FOR)) $(ARGS)

test: $(STAMP) ## All tests, against a real Kafka and Redis of their own; JOBS=0 one after another
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(AGAIN) $(ARGS)

# What the users of `make test-secure` were allowed to do.
USED := $(CURDIR)/.feedmill/used-rights.jsonl

# Tests that stop, freeze or replace their servers bring servers of their own, which ask nobody.
test-secure: $(STAMP) ## tests/e2e with workers that sign in and have the rights of their roles alone: nightly
	@mkdir -p .feedmill && rm -f $(USED)
	SECURED_TESTS=$(USED) $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --timeout 600 $(AGAIN) tests/e2e $(ARGS)
	PYTHONPATH=tests $(BIN)/python -m builders.used_rights $(USED)

# The tool has an environment of its own, so that it is not among what it lists.
sbom: $(STAMP) ## Write sbom.json: CycloneDX of what is installed, with licences
	@[ -x $(VENV)/sbom/bin/cyclonedx-py ] || { $(PYTHON) -m venv $(VENV)/sbom && \
		$(VENV)/sbom/bin/pip install -q --disable-pip-version-check 'cyclonedx-bom>=7,<8'; }
	$(VENV)/sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--of JSON -o sbom.json $(BIN)/python

check: $(STAMP) $(TYPING)/.linked ## Lint, format, types, the import rule, docs and schemas: only looks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@PYTHONPATH=tests $(BIN)/python -m builders.sizes
	$(if $(ONLY_CHECKS),$(BIN)/python -m pytest -q $(ONLY_CHECKS))

format: $(STAMP) ## Format the code; write the schemas and docs/metrics.md
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python -m feedmill.events.schema docs/events
	PYTHONPATH=tests $(BIN)/python -m builders.metrics_page docs/metrics.md
	PYTHONPATH=tests $(BIN)/python -m builders.dashboards

bench: $(STAMP) ## Every benchmark, one after another; each prints its table
	@for script in benchmarks/bench_*.py; do \
		echo "== $$script"; $(BIN)/python $$script || exit 1; done

cost: $(STAMP) ## What the engine takes at 10, 100, 1,000 posts/s: docs/operating/cost.md; ARGS='--seconds 10' is short
	$(BIN)/python benchmarks/cost.py $(ARGS)

chaos: $(STAMP) ## Faults in a running engine, and what came of them; LONG=1, ONLY=kill_worker, SEED=7
	PYTHONPATH=tests:benchmarks $(BIN)/python -m chaos $(if $(LONG),--long) $(if $(ONLY),--only $(ONLY)) $(if $(SEED),--seed $(SEED))

alarms: $(STAMP) ## Raise each alarm on a live engine by its fault, see it clear: nightly; ONLY=redis_away, QUIET=0
	PYTHONPATH=tests:benchmarks $(BIN)/python -m alarms $(if $(ONLY),--only $(ONLY)) $(if $(QUIET),--quiet $(QUIET))

mutation: $(STAMP) ## Change the code in small ways, see that tests notice; MODULES=rankers/score.py for one
	$(BIN)/python tests/mutation.py $(MODULES)

fuzz: $(STAMP) ## Fuzz every reader of outside bytes; TARGETS="posts config" and SECONDS=30, for each
	@$(BIN)/python -c 'import atheris' 2>/dev/null || \
		$(BIN)/python -m pip install -q --disable-pip-version-check --no-build-isolation -e '.[fuzz]'
	$(BIN)/python tests/fuzz/run.py $(TARGETS) --seconds $(SECONDS)

campaigns: $(STAMP) ## 200 random campaigns of copies: is the first author shown, are the copies hidden?
	CAMPAIGNS=200 $(BIN)/python -m pytest tests/streams/filters/test_copy_history_campaigns.py -s --timeout 900 $(ARGS)

# The pages of docs/ have the test rows' figures: without a look others are written, elsewhere.
EVALUATED = $(if $(LOOK),docs --look "$(LOOK)",.feedmill/evaluation)

evaluate: $(STAMP) ## The models' cards and their figures; LOOK='why' writes docs/filters.md and docs/rankers.md
	$(BIN)/python -m feedmill.models.cards filters/artifacts rankers/artifacts --out docs/models
	$(BIN)/python benchmarks/models/evaluate_filters.py --docs $(EVALUATED) $(ARGS)
	$(BIN)/python benchmarks/models/evaluate_rankers.py --docs $(EVALUATED) $(ARGS)

# Without `build/`, from which setuptools would take files that the tree has no more.
wheel: $(STAMP) ## Build dist/feedmill-….whl
	@rm -rf build dist
	$(BIN)/python -m pip wheel -q --disable-pip-version-check --no-deps --no-build-isolation -w dist .
	@rm -rf build

# Files of one commit get one time, so that two builds have the same files.
image: export SOURCE_DATE_EPOCH = $(shell git log -1 --format=%ct)
image: wheel ## Build the image feedmill:VERSION by buildah or docker; BASE=, BUILD_BASE=, TAG=, FLAGS=
	@rm -rf $(CONTEXT) && mkdir -p $(CONTEXT)
	@cp deploy/image/Containerfile deploy/image/requirements.lock dist/*.whl $(CONTEXT)/
	$(BUILD) $(if $(BASE),--build-arg BASE=$(BASE)) $(if $(BUILD_BASE),--build-arg BUILD_BASE=$(BUILD_BASE)) \
		$(FLAGS) -t $(TAG) -f $(CONTEXT)/Containerfile $(CONTEXT)

# Helm and the definitions of KEDA and the Prometheus operator come as Go modules.
deploy-test: $(STAMP) ## Check frontend.ts by tsc, render the chart by helm, run the image in podman: root, npm, Go, buildah, mmdebstrap
	mkdir -p .feedmill/typescript && cp tests/examples/typescript/package*.json .feedmill/typescript
	npm ci --prefix .feedmill/typescript --no-audit --no-fund
	.feedmill/typescript/node_modules/.bin/tsc --strict --noUncheckedIndexedAccess --noEmit --target es2022 --module nodenext \
		--typeRoots .feedmill/typescript/node_modules/@types --types node examples/frontend.ts
	GOPATH=$(GO) go install helm.sh/helm/v3/cmd/helm@v3.19.0
	cd $(GO) && { [ -e go.mod ] || go mod init definitions; } && GOPATH=$(GO) go mod download $(KEDA) $(OPERATOR)
	PYTHONPATH=tests $(BIN)/python -m builders.rendered_chart $(GO)/bin/helm \
		--definitions $(GO)/pkg/mod/$(KEDA)/config/crd/bases \
		--definitions $(GO)/pkg/mod/$(OPERATOR)/example/prometheus-operator-crd
	for side in build run; do mkdir -p .feedmill/base-$$side && printf 'FROM scratch\nADD base.tar /\n' >.feedmill/base-$$side/Containerfile; done
	mmdebstrap --dpkgopt=force-unsafe-io --variant=minbase --include=python3,python3-venv,libgomp1,ca-certificates bookworm .feedmill/base-build/base.tar
	mmdebstrap --dpkgopt=force-unsafe-io --variant=minbase --include=python3,libgomp1,ca-certificates bookworm .feedmill/base-run/base.tar
	for side in build run; do buildah bud --isolation chroot -t localhost/base-$$side .feedmill/base-$$side; done
	for tag in a b; do $(MAKE) image TAG=localhost/feedmill:$$tag BUILD_BASE=localhost/base-build BASE=localhost/base-run \
		FLAGS="--isolation chroot --no-cache $(FLAGS)" || exit 1; done
	rm -rf .feedmill/before && mkdir -p .feedmill/before && git archive $(BEFORE) | tar -x -C .feedmill/before
	$(MAKE) -C .feedmill/before -o $(CURDIR)/$(STAMP) image VENV=$(CURDIR)/$(VENV) TAG=localhost/feedmill:before \
		BUILD_BASE=localhost/base-build BASE=localhost/base-run FLAGS="--isolation chroot --no-cache $(FLAGS)"
	PYTHONPATH=tests:benchmarks $(BIN)/python -m builders.image_in_podman localhost/feedmill:a localhost/feedmill:b localhost/feedmill:before

vendor: ## Fetch the console's files of npm packages again, by the checksums of console/vendor.json
	PYTHONPATH=tests python3 -m builders.vendored

pictures: $(STAMP) ## Take the console's pictures in docs/console of a seeded installation; needs chromium
	PYTHONPATH=tests $(BIN)/python -m builders.console_pictures docs/console

lock: $(STAMP) ## Resolve pyproject.toml into requirements.lock again
	$(BIN)/python -m pip install -q uv
	$(BIN)/uv pip compile pyproject.toml --extra local --extra console --extra train --extra experiments --extra s3 --extra watch --extra dev --universal --python-version 3.11 --upgrade \
		--generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command 'make lock' --quiet --output-file $(LOCK)
	$(BIN)/uv pip compile pyproject.toml --extra console --extra experiments --extra s3 --extra watch --universal --python-version 3.11 \
		--constraint $(LOCK) --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command 'make lock' --quiet --output-file deploy/image/requirements.lock

clean: ## Remove what was made, the local stack's data too
	-@[ -x $(BIN)/feedmill ] && $(BIN)/feedmill local down
	rm -rf $(VENV) .feedmill .fuzz .mutation .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	rm -rf *.egg-info *-data
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# `--no-deps --no-build-isolation`: everything, the build's setuptools too, comes from the lock.
$(STAMP): $(LOCK) pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo "feedmill needs Python 3.11 or newer, and there is none on the PATH;" \
		"install it, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c '$(NEW_ENOUGH)' || { echo "feedmill needs Python 3.11 or newer;" \
		"$(PYTHON) is `$(PYTHON) --version 2>&1`" >&2; exit 1; }
	@echo "installing feedmill into $(VENV), once: a minute or two ..."
	@[ -x $(BIN)/pip ] || $(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); echo \
		"cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r $(LOCK)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -c 'import lightgbm' 2>/dev/null || { mkdir -p $(OPENMP) && \
		ln -sf $(CURDIR)/$(VENV)/lib/python3*/site-packages/scikit_learn.libs/libgomp*.so* $(OPENMP)/libgomp.so.1; }
	$(link_for_mypy)
	@touch $@

# Again when PACKAGES may have changed.
$(TYPING)/.linked: Makefile | $(STAMP)
	$(link_for_mypy)
