# `make run` turns data/sources (or a demo corpus) into a model; `make test` checks everything. Both can be repeated.
SHELL := /bin/bash
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Where bytecode may not be written, pytest rewrites the asserts of every test in every process: five seconds of each.
unexport PYTHONDONTWRITEBYTECODE
# One process more than there are cores, since tests wait for servers, browsers and other processes too.
PYTEST := OMP_NUM_THREADS=1 python -m pytest -n $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --dist loadfile --no-loadscope-reorder

.PHONY: help setup ray s3 grammar docs run run-base test test-fast test-wheel test-pythons test-all bench serve clean
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: .venv/installed ## make .venv and install requirements.lock and requirements-dev.lock

.venv/installed: requirements.lock requirements-dev.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "error: there is no $(PYTHON): install Python 3.11, 3.12 or 3.13, or name one: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) privllm/__init__.py  # it refuses a Python that privllm does not work with
	$(PYTHON) -m venv .venv
	pip install torch==2.13.0
	pip install --no-deps --require-hashes -r requirements.lock -r requirements-dev.lock
	pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

ray: .venv/ray ## what an executor over several machines needs (requirements-ray.lock)

.venv/ray: .venv/installed requirements-ray.lock
	pip install --no-deps --require-hashes -r requirements-ray.lock
	@touch $@

s3: .venv/s3 ## what a remote on S3 needs (requirements-s3.lock)

.venv/s3: .venv/installed requirements-s3.lock
	pip install --no-deps --require-hashes -r requirements-s3.lock
	@touch $@

grammar: .venv/grammar ## what replies that follow a JSON schema need (requirements-grammar.lock)

.venv/grammar: .venv/installed requirements-grammar.lock
	pip install --no-deps --require-hashes -r requirements-grammar.lock
	@touch $@

.venv/moto: .venv/s3 requirements-moto.lock
	pip install --no-deps --require-hashes -r requirements-moto.lock
	@touch $@

docs: .venv/docs ## the documentation as pages, in site/ (requirements-docs.lock)
	python docs/tables.py
	mkdocs build --quiet --strict

.venv/docs: .venv/installed requirements-docs.lock
	pip install --no-deps --require-hashes -r requirements-docs.lock
	@touch $@

run: setup ## documents to model: demo corpus if data/sources is empty, dvc repro, summary
	@privllm demo --when-empty
	@test -f data/sources.dvc || dvc add --quiet data/sources
	@privllm check --fix
	dvc repro
	@privllm summary

run-base: setup ## an open model and Debian's handbooks to a model that knows them and still talks, in ../demo-base
	python -m benchmarks.run_base

test-fast: setup ## the tests that train nothing, build nothing and take no seconds, in two minutes
	$(PYTEST) -n auto --hypothesis-profile=fast --durations=5 --durations-min=1 -m "not training and not build and not slow"

test: setup ray .venv/moto .venv/docs .venv/grammar ## all tests, in a quarter of an hour
	$(PYTEST)

test-wheel: setup ## privllm as people install it: a wheel, an empty environment, a project, an upgrade
	python -m tests.wheel

test-pythons: setup ## the tests that need none of torch, Ray and MkDocs, with Python 3.12 and 3.13 too
	python -m tests.pythons 3.12 3.13

test-all: setup ray .venv/moto .venv/docs .venv/grammar test-pythons test-wheel ## all tests in their nightly depth, the other Pythons and the wheel, in an hour and a quarter
	PRIVLLM_NIGHTLY=1 $(PYTEST)

bench: setup ## our figures against the peers', in turn
	python -m benchmarks.run

serve: setup ## talk to the exported model in a browser (run first)
	privllm serve

clean: ## remove what a build made, as dvc.yaml lists it (sources, feedback, base, promoted and DVC's cache stay)
	@python -P -m privllm.manage.remove_outputs
