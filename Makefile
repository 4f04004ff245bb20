# Everything starts from Python 3.11 or 3.12, make and a shell; the rest is installed into .venv from constraints.txt.

PYTHON ?=
IMAGE ?=
OUT ?= demo
TORCH_INDEX ?=
DATA ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

# Many threads make the small networks of the tests slower, not faster.
CORES := $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)
TEST_THREADS := $(shell [ $(CORES) -lt 4 ] && echo $(CORES) || echo 4)

# An interpreter counts only when it runs (a pyenv shim may not) and can make an environment (Debian splits that off).
USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))

export PYTHON IMAGE OUT TORCH_INDEX DATA

.PHONY: help install demo test bench bench-accuracy train pictures lint format clean
.DELETE_ON_ERROR:

help:
	@echo "make demo              segment a drawn abdomen with the shipped model; the report is demo/index.html"
	@echo "make demo IMAGE=path   the same for an image of yours (NIfTI, NRRD, MHA or a DICOM folder)"
	@echo "make test              run the tests"
	@echo "make bench             measure speed and memory; tables in Testing/Benchmarks/results"
	@echo "make bench-accuracy DATA=path   train and score beside other methods; hours, goes on where it was stopped"
	@echo "make train DATA=path   train the shipped model again from the folder of its sources"
	@echo "make pictures DATA=path  draw the README's pictures of real scans again, and a report of each (runs/reports)"
	@echo "make lint              check the style of the code;  make format  corrects it"
	@echo "make install           only prepare .venv;  make clean  removes it"
	@echo ""
	@echo "PYTHON=path            the Python to build .venv with (3.11 or 3.12; found by itself otherwise)"
	@echo "OUT=folder             where the demo writes (demo)"
	@echo "TORCH_INDEX=url        one more package index, as https://download.pytorch.org/whl/cpu: on Linux the"
	@echo "                       torch of PyPI brings several gigabytes for NVIDIA cards, that of this index does not"

install: $(STAMP)

demo: $(STAMP)
	$(BIN)/cfsegmenter demo --overwrite --out "$$OUT" $${IMAGE:+"$$IMAGE"}

test: $(STAMP)
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-$(TEST_THREADS)} $(BIN)/python -m pytest -q

bench: $(STAMP)
	$(BIN)/python -m Testing.Benchmarks.bench_training_step
	$(BIN)/python -m Testing.Benchmarks.bench_encoding

# The five recorded commands behind Resources/Models/general; given again after a stop they go on where they were. The
# first was stopped when its validation showed what the second one's settings changed; the others refine: outlines that
# are not too wide, organs without signal, the hippocampus.
SOURCES := msd_hippocampus oasis_brain_t1 chaos_mr_t2 acdc_cine_mr openkbp_hn_ct
TRAIN = $(BIN)/cfsegmenter train --name general --licence "CC BY-NC-SA 4.0" \
  $(foreach source,$(SOURCES),--cases "$$DATA/$(source)/dataset.json") --cases runs/phantom/dataset.json
train: $(STAMP)
	@[ -n "$$DATA" ] || { echo "Name the folder of the sources: make train DATA=path" >&2; exit 2; }
	[ -f runs/phantom/dataset.json ] || \
	  $(BIN)/cfsegmenter phantom --out runs/phantom --training 24 --validation 2 --seed 0
	$(TRAIN) --out runs/general-1 --settings Resources/Training/general-1.json --until 10916
	$(TRAIN) --out runs/general-2 --settings Resources/Training/general-2.json --initial runs/general-1/last
	$(TRAIN) --out runs/general-3 --settings Resources/Training/general-3.json --initial runs/general-2/last
	$(TRAIN) --out runs/general-4 --settings Resources/Training/general-4.json --initial runs/general-3/last
	$(TRAIN) --out runs/general-5 --settings Resources/Training/general-5.json --initial runs/general-4/last

# Every cell of the tables that has no result yet; a second call beside the first one shares the work.
bench-accuracy: $(STAMP)
	@[ -n "$$DATA" ] || { echo "Name the folder of the sources: make bench-accuracy DATA=path" >&2; exit 2; }
	$(BIN)/python -m Testing.Benchmarks.accuracy run --data "$$DATA"
	$(BIN)/python -m Testing.Benchmarks.accuracy report

pictures: $(STAMP)
	@[ -n "$$DATA" ] || { echo "Name the folder of the sources: make pictures DATA=path" >&2; exit 2; }
	$(BIN)/python -m Testing.Screenshots.draw_cases "$$DATA"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV)

# hatchling comes first and from the lock, so that building this package fetches nothing that is not locked.
# torch is named first, so that a file of exactly this version at hand is preferred to a download.
# The extra `scene` is for tests only and has no wheels for some platforms: without it everything else works.
$(STAMP): pyproject.toml constraints.txt
	@$(BIN)/python -c '$(USABLE)' >/dev/null 2>&1 || { \
	  if [ -n "$$PYTHON" ]; then set -- "$$PYTHON"; else set -- python3.11 python3.12 python3 python; fi; \
	  found=; for candidate in "$$@"; do \
	    if "$$candidate" -c '$(USABLE)' >/dev/null 2>&1; then found="$$candidate"; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "No working Python 3.11 or 3.12 with venv and ensurepip among: $$*." >&2; \
	    echo "Install one (on Debian also python3-venv), or name it: make PYTHON=/path/to/python3.11 ..." >&2; \
	    exit 1; \
	  fi; \
	  echo "Preparing $(VENV) with $$("$$found" --version) ..."; \
	  "$$found" -m venv --clear $(VENV); }
	@echo "Installing the locked packages into $(VENV); the first time takes some minutes ..."
	@$(PIP) hatchling editables
	@$(PIP) $${TORCH_INDEX:+--extra-index-url "$$TORCH_INDEX"} --no-build-isolation \
	  torch==2.13.0 open_clip_torch -e '.[text,log,test]'
	@$(PIP) --no-build-isolation --only-binary slicer-core,vtk,PySide6-Essentials -e '.[scene]' || \
	  echo "The wheels of 3D Slicer or Qt cannot be had here: the tests of the Slicer module will be skipped."
	@touch $@
