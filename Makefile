# reflectionflow: every target makes its own .venv; a second call starts in seconds.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CONFIGS ?= configs/tuning
GENREF ?= $(if $(findstring smoke,$(CONFIGS)),training/smoke/genref,training/genref)
TRIPLETS ?= 9000
EDITS ?= 90000
RETOUCHES ?= 20000
MEASURED := a photo of a red star above a green moon and a purple ring right of the green moon
PROMPT ?= $(MEASURED)
IMAGES ?= 16
LIMIT ?= 25
COMPOSITE ?= 100
SEEDS ?= 2
PICK_BY ?= scenes-vlm,scenes-reward,scenes-clip
TOLD_BY ?= another-picture,scenes-teacher
OUT ?= paper
SHARDS := 'data.shards=["$(GENREF)","$(GENREF)-edits","$(GENREF)-retouches"]'
# The tests' processes share the cores; each keeps to one, and to whole files, whose fixtures are made once.
SHARED := OMP_NUM_THREADS=1
WORKERS ?= -n auto --maxprocesses 4 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-slow check format models paper clean

help: ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "reflectionflow needs Python 3.11 or newer; this is %d.%d. Name another: make PYTHON=python3.12 ..." % sys.version_info[:2])'
	@echo "Setting up $(VENV) (once; a few minutes)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt torch
	@$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(READY) ## Paint a hard prompt, say what is wrong, paint it again, write a report.
	@[ "$(PROMPT)" != "$(MEASURED)" ] || echo "Eight pictures of \"$(PROMPT)\": with new noise alone 1 of 10 seeds finds it, with reflections 9 (docs/log.md)."
	@$(BIN)/reflectionflow generate "$(PROMPT)" --images 8 --seed 2 --out demo

test: $(READY) ## Run the tests (ten to twelve minutes on two cores).
	@$(SHARED) $(BIN)/pytest -q $(WORKERS) -m "not slow and not gpu"

test-fast: $(READY) ## Run the tests that need no trained model and no killed process.
	@$(SHARED) $(BIN)/pytest -q $(WORKERS) -m "not slow and not gpu and not trained and not kill"

test-slow: $(READY) ## Run the long campaigns too.
	@$(SHARED) $(BIN)/pytest -q $(WORKERS) -m "not gpu"

check: $(READY) ## Check format, lint, types and import layers.
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(READY) ## Format the code.
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

models: $(READY) ## Train the Scenes models from nothing (ten hours or more on two cores, estimated; resumable).
	@echo "Stages: autoencoder, its decoder, T5, generator, its distillation, detector, CLIP verifier, GenRef, corrector,"
	@echo "its distillation, vision-language model, reward verifier; configurations from $(CONFIGS)/, $(TRIPLETS) + $(EDITS) + $(RETOUCHES) triplets."
	@echo "Estimated at ten hours or more on two cores (never run in whole); a GPU was not timed. Stop at any time, 'make models' goes on."
	@$(BIN)/reflectionflow tune vae $(CONFIGS)/scenes-vae.toml
	@$(BIN)/reflectionflow tune vae $(CONFIGS)/scenes-vae-decoder.toml
	@$(BIN)/reflectionflow tune words $(CONFIGS)/scenes-words.toml
	@$(BIN)/reflectionflow tune generator $(CONFIGS)/scenes-generator.toml
	@$(BIN)/reflectionflow tune generator $(CONFIGS)/scenes-distil.toml
	@$(BIN)/reflectionflow tune detector $(CONFIGS)/scenes-detector.toml
	@$(BIN)/reflectionflow tune clip $(CONFIGS)/scenes-clip.toml
	@$(BIN)/reflectionflow genref build --stack $(CONFIGS)/stacks/drafts.toml --triplets $(TRIPLETS) --seed 1 --out $(GENREF)
	@$(BIN)/reflectionflow genref build --source editing --triplets $(EDITS) --seed 11 --out $(GENREF)-edits
	@$(BIN)/reflectionflow genref build --source retouch --stack $(CONFIGS)/stacks/drafts.toml --triplets $(RETOUCHES) --seed 21 \
		--out $(GENREF)-retouches
	@$(BIN)/reflectionflow tune corrector $(CONFIGS)/scenes.toml --set $(SHARDS)
	@$(BIN)/reflectionflow tune corrector $(CONFIGS)/scenes-corrector-distil.toml --set $(SHARDS)
	@$(BIN)/reflectionflow tune reflector $(CONFIGS)/scenes-vlm.toml --set 'data.pool=["$(GENREF)","$(GENREF)-retouches"]'
	@$(BIN)/reflectionflow tune verifier $(CONFIGS)/scenes-reward.toml --set 'data.pool=["$(GENREF)","$(GENREF)-retouches"]'

paper: $(READY) ## Make the paper's tables and figures at Scenes scale (resumable; IMAGES, LIMIT, COMPOSITE, SEEDS, TOLD_BY, OUT).
	@$(BIN)/reflectionflow paper --stack scenes --per-tag $(LIMIT) --composite $(COMPOSITE) --images $(IMAGES) \
		--seeds $(SEEDS) --out $(OUT) $(if $(PICK_BY),--pick-by $(PICK_BY)) \
		$(if $(wildcard $(GENREF)/*.tar),--genref $(GENREF)) $(if $(CONTROL),--control $(CONTROL)) $(if $(TOLD_BY),--told-by $(TOLD_BY))

clean: ## Remove the environment and what demo and training wrote.
	rm -rf $(VENV) demo training runs
