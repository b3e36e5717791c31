# SPDX-License-Identifier: Apache-2.0
SHELL := /bin/bash
.DEFAULT_GOAL := help
ROS_DISTRO ?= jazzy
export ROS_DISTRO

RUN := source scripts/env.sh &&
BUILT := install/.built-$(ROS_DISTRO)
READY_DEMO := .venv/.ready-demo-$(ROS_DISTRO)
READY_TEST := .venv/.ready-test-$(ROS_DISTRO)
INTERFACES := $(wildcard msg/* srv/* cmake/* launch/* config/* config/*/* scripts/*.in) CMakeLists.txt package.xml requirements-robot.txt
SETUP := pyproject.toml requirements-robot.txt $(wildcard tools/*.sh tools/*.txt tools/*.py)

.PHONY: help
help: ## what can be made (this list)
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 10

.PHONY: setup
setup: $(BUILT) ## .venv with ROS 2 (a sourced /opt/ros/*, else wheels: ROS_DISTRO=jazzy, kilted), messages built by colcon
	@echo "ready: make demo, make test, or source scripts/env.sh"

.PHONY: demo
demo: $(BUILT) ## camera, tracker and overlay over real topics; SOURCE=video.mp4 CONCEPT=mug [MASKS=masks.npz] FRAMES=300; writes out/demo.*
	$(RUN) python -m esam3_ros.demo $(if $(SOURCE),--source "$(SOURCE)") $(if $(CONCEPT),--concept "$(CONCEPT)") \
	  $(if $(FRAMES),--frames $(FRAMES)) $(if $(MASKS),--masks "$(MASKS)")

.PHONY: test
test: $(BUILT) $(READY_TEST) ## every test, ROS included; ARGS="-k mailbox" is handed to pytest
	$(RUN) python -m pytest $(ARGS)

.PHONY: lint
lint: $(BUILT) $(READY_TEST) ## ruff and mypy
	$(RUN) ruff check . && mypy

.PHONY: bench
bench: $(BUILT) $(READY_TEST) ## every script of bench/ that needs no arguments, results in out/bench/
	@mkdir -p out/bench
	@$(RUN) asking="" failed=""; for script in $$(grep -lF -- '"--json"' bench/*.py); do \
	  echo "== $$script"; python "$$script" --json "out/bench/$$(basename "$$script" .py).json"; \
	  case $$? in 0) ;; 2) asking="$$asking $$script" ;; *) failed="$$failed $$script" ;; esac; \
	done; [ -z "$$asking" ] || echo "bench: these need arguments, see their --help:$$asking"; \
	[ -z "$$failed" ] || { echo "bench: failed:$$failed" >&2; exit 1; }

.PHONY: clean
clean: ## removes what was built and made; keeps .venv
	rm -rf build install log out dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +

$(READY_DEMO): $(SETUP)
	tools/setup.sh demo
	@touch $@

$(READY_TEST): $(SETUP) | $(READY_DEMO)
	tools/setup.sh test
	@touch $@

$(BUILT): $(INTERFACES) $(READY_DEMO)
	$(RUN) colcon build --paths . --symlink-install \
	  --cmake-args -DPython3_EXECUTABLE="$(CURDIR)/.venv/bin/python" -DBUILD_TESTING=OFF
	@rm -f install/.built-* && touch $@
