# Imagewright from the command line. `make help` lists the targets.

PYTHON ?= python3
DATA   ?=
PRESET ?=
FORCE  ?=
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
NEEDED_GB := 10
PROCESSES ?= $(shell expr `nproc` + 1) # test processes: one more than cores, since tests often wait for servers

# The settings of `make up`: from its command line, or with IMAGEWRIGHT_ before the name from the environment, where
# HOST may mean something else.
$(foreach name,HOST PORT PASSWORD DATABASE WATCH QUIET ADDRESS,$(eval $(name) :=)$(eval export \
  IMAGEWRIGHT_$(name) := $$(or $$(value $(name)),$$(value IMAGEWRIGHT_$(name)))))

.DEFAULT_GOAL := help
.PHONY: help setup doctor data run repro report release reproduce up down status remote test torture gpu-check figures lint deps check \
  pictures tensorboard lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "  make run DATA=path/to/images PRESET=classic    one's own folder, zip or tar; presets: quick, classic, full"
	@echo "  make up WATCH=path/to/folder PORT=4300         retrains on what comes into the folder; docs/server.md has more"

setup: ## build .venv from requirements.lock, if it is not there or the lock changed
	@cmp -s requirements.lock .venv/requirements.lock || $(MAKE) --no-print-directory build-venv
	@[ -x .venv/bin/imagewright ] || .venv/bin/uv pip install -q --no-deps --python .venv/bin/python --editable .

.PHONY: build-venv
build-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Imagewright needs Python 3.11 or later and %s is %s; name a newer one: make setup PYTHON=python3.11" % (sys.executable, sys.version.split()[0]))'
	@$(PYTHON) -c 'import shutil, sys; free = shutil.disk_usage(".").free / 1e9; sys.exit(free < $(NEEDED_GB) and "error: Imagewright needs $(NEEDED_GB) GB of free disk here (6.5 of them for PyTorch and its CUDA libraries) and %.1f are free; free some space and run this again" % free)'
	@echo "setting up .venv from requirements.lock (6.5 GB, a few minutes where it has to be downloaded)"
	@rm -rf .venv && $(PYTHON) -m venv .venv
	@awk '/^uv==/ {on = 1} on; on && !/\\$$/ {exit}' requirements.lock > .venv/uv.lock
	@{ .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r .venv/uv.lock \
	   && .venv/bin/uv pip install -q --compile-bytecode --python .venv/bin/python --require-hashes -r requirements.lock; } \
	 || { echo "uv could not do it; trying pip"; .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock; }
	@cp requirements.lock .venv/requirements.lock

data: setup ## fill data/raw with what data/raw.dvc pins, or with DATA=fashion-mnist | digits | path
	@python -m flows data $(if $(DATA),"$(DATA)")

run: setup ## run the pipeline as a Prefect flow (optional: DATA=..., PRESET=..., FORCE=1)
	@python -m flows run $(if $(DATA),"$(DATA)") $(if $(PRESET),--preset $(PRESET)) $(if $(FORCE),--force)

repro: setup ## run the pipeline with DVC alone
	@[ -e data/raw ] || python -m tasks.ingest
	@dvc --wait-for-lock repro

report: setup ## write report/index.html again
	@python -m flows report

release: setup ## gate the models of the last commit and release those that pass (REV=..., MODELS=gan, STAGE=candidate)
	@python -m flows release "$(or $(REV),HEAD)" $(if $(MODELS),--models "$(MODELS)") $(if $(STAGE),--stage "$(STAGE)")

reproduce: setup ## rebuild a release in a clone and compare every hash: TAG=gan@v1.0.0
	@python -m flows reproduce "$(TAG)"

doctor: setup ## check what on this machine would make a run fail, and say how to mend it
	@python -m flows doctor

up: setup ## start Prefect's server, its UI and a worker in the background (HOST, PORT, DATABASE, WATCH are optional)
	@python -m flows up

down: setup ## stop what `make up` started
	@python -m flows down

status: setup ## print the state of server, worker, deployments and runs; exit code 3 when the server is down
	@python -m flows status

remote: setup ## set the DVC remote where data and released models are shared: URL=s3://..., ssh://..., a folder
	@python -m flows remote "$(URL)"

test: setup ## run the tests (LONG=1: also the long ones); packages.txt lists the system packages that some need
	@python -m pytest -rs $(if $(LONG),,-m "not long") --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder

torture: setup ## kill -9 the server's processes KILLS=10 times (SEED=...), stop it for AWAY=120 s, retrain ROUNDS=30 times; an hour
	@KILLS="$(or $(KILLS),10)" SEED="$(SEED)" AWAY="$(or $(AWAY),120)" ROUNDS="$(or $(ROUNDS),30)" python -m pytest \
	   -n0 -q -s tests/flows/server/test_stops.py tests/flows/server/test_soak.py tests/flows/server/test_torture.py

gpu-check: setup ## check that the project works on this machine's NVIDIA GPU, and how fast; 8 minutes (LONG=1: 30)
	@python bench/gpu_check.py $(if $(LONG),--long)

figures: setup ## run the benchmarks (an hour on two cores, after `make run`) and write bench/RESULTS.md (NAMES=..., LONG=1)
	@python bench/figures.py $(NAMES) $(if $(LONG),--long)

lint: setup ## run ruff and mypy
	@ruff check && ruff format --check && mypy

deps: setup ## write each stage's code dependencies into dvc.yaml, from its imports
	@python -m tests.closure

check: lint test ## run the linters, then the tests

pictures: setup ## make the screenshots in docs/pictures again: Prefect's UI in Debian's chromium; ten minutes
	@PICTURES=docs/pictures python -m pytest -n0 -q -s tests/flows/server/test_ui.py

tensorboard: setup ## show the losses of running and past trainings
	@tensorboard --logdir .work/tensorboard

lock: ## write requirements.lock again from pyproject.toml
	@$(PYTHON) -m venv .work/lock && .work/lock/bin/python -m pip install -q --disable-pip-version-check uv
	@.work/lock/bin/uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
	   --no-emit-index-url --no-emit-find-links --group dev pyproject.toml -o requirements.lock
	@rm -rf .work/lock

clean: ## remove .venv, report and .work (checkpoints, logs, Prefect's database); data/ and .work/remote stay
	@if [ -x .venv/bin/python ] && [ -e .work/server -o -e .work/box ]; then .venv/bin/python -m flows.server down; fi
	@rm -rf .venv report
	@if [ -d .work ]; then find .work -mindepth 1 -maxdepth 1 ! -name remote -exec rm -rf {} +; rmdir .work 2>/dev/null || true; fi
	@if [ -d .work/remote ]; then echo ".work/remote stays: DVC keeps data and released models there, perhaps their only copy"; fi
