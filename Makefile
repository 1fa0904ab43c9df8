# make demo   sets up and runs the main job: train, saliency maps, scores, one picture, one table (under five minutes)
# make test   sets up and passes the tests
# make lint   sets up and passes ruff
# make light  trains runs/lite2_eorssd.safetensors, the shipped light network, anew: configs/lite2.yaml says what it needs
#             and takes. Stopped, it goes on where it was.
# make strong trains runs/strong_eorssd.safetensors, the shipped stronger network, anew: configs/strong.yaml says what it
#             needs and takes. So does it.
#
# PYTHON=python3.12   the interpreter that the virtual environment is made with
# VENV=path           where the virtual environment is
# DATA=path/to/ORSSD  a real data set for the demo; SET=ORSSD names it where its folder does not
PYTHON ?= python3
VENV ?= .venv
DATA ?=

ifeq ($(DATA),)
SET := sample
ROOT := demo/sample
RUN := demo
TRAIN_ON := --data.root $(ROOT)
else
SET ?= $(notdir $(abspath $(DATA)))
ROOT := $(DATA)
RUN := demo/$(SET)
TRAIN_ON := --data.dataset $(SET) --data.root $(ROOT) --epochs 3
endif

BIN := $(VENV)/bin/python
TEST_SET := --dataset $(SET) --root $(ROOT)
MAPS := --maps untrained=$(RUN)/untrained/maps light=$(RUN)/light/maps SRAL=$(RUN)/run/maps

.PHONY: demo test lint light strong
.DELETE_ON_ERROR:

demo: $(VENV)/installed
	rm -rf $(RUN)/untrained $(RUN)/run $(RUN)/light $(RUN)/scores
	$(BIN) train.py --config configs/demo.yaml $(TRAIN_ON) --output $(RUN)/untrained --epochs 0 \
		--encoder_weights none
	$(BIN) train.py --config configs/demo.yaml $(TRAIN_ON) --output $(RUN)/run
	$(BIN) getsmaps.py --weights $(RUN)/untrained/last.safetensors $(TEST_SET) --output $(RUN)/untrained/maps
	$(BIN) getsmaps.py --weights $(RUN)/run/last.safetensors $(TEST_SET) --output $(RUN)/run/maps
	$(BIN) getsmaps.py $(TEST_SET) --output $(RUN)/light/maps
	$(BIN) compute_results/compute_metrics.py $(TEST_SET) $(MAPS) --protocol authors --out $(RUN)/scores/authors
	$(BIN) compute_results/compute_metrics.py $(TEST_SET) $(MAPS) --protocol field --out $(RUN)/scores/field
	$(BIN) compute_results/gallery.py $(TEST_SET) $(MAPS) --output $(RUN)/maps.png
	cat $(RUN)/scores/authors/scores.md $(RUN)/scores/field/scores.md > $(RUN)/table.md
	@echo "Look at $(RUN)/maps.png, $(RUN)/table.md and $(RUN)/run/curves.png"

test: $(VENV)/installed-dev
	$(BIN) -m pytest --numprocesses auto --dist loadfile

lint: $(VENV)/installed-dev
	$(BIN) -m ruff check .

# What several steps of the two recipes have: the detector alone; trained on from weights that are good already; both, with
# nothing held back; that on whole images.
ALONE := --super_resolution false --guidance false
FURTHER := --optimizer.lr 6e-4 --optimizer.warmup_epochs 0.3
ONWARD := $(ALONE) $(FURTHER) --data.validation 0
WHOLE := $(ONWARD) --data.augmentation.scale_probability 0

# Small images first, then the full size twice, as its forerunner was trained and by the configuration; their mean trains on
# with the SR branch; from that three seeds, with the rate restarted; from their mean two more, with nothing held back; from
# the mean of these and of what they started from three more, in larger batches; from the mean of these two more without the
# SR branch; from the mean of these two more so; from the mean of these two more so without crops, and the mean of these is
# shipped.
LIGHT := $(BIN) train.py --config configs/lite2.yaml --resume
FIRST := --detector.drop_path 0 --optimizer.encoder_lr_factor 0.5
light: $(VENV)/installed
	$(LIGHT) $(ALONE) $(FIRST) --detector.input_size [128,128] --epochs 28 --output runs/lite2_small
	$(LIGHT) $(ALONE) $(FIRST) --weights runs/lite2_small/best.safetensors --epochs 12 --optimizer.warmup_epochs 0.5 \
		--seed 2031 --output runs/lite2_2031
	$(LIGHT) $(ALONE) --weights runs/lite2_small/best.safetensors --epochs 12 --optimizer.warmup_epochs 0.5 \
		--seed 2032 --output runs/lite2_2032
	$(BIN) -m tools.average_weights runs/lite2_2032/last.safetensors runs/lite2_2031/best.safetensors \
		--output runs/lite2_mean.safetensors
	$(LIGHT) --weights runs/lite2_mean.safetensors --epochs 7 $(FURTHER) --seed 2033 --output runs/lite2
	for seed in 2034 2035 2036; do $(LIGHT) --weights runs/lite2/last.safetensors --epochs 14 $(FURTHER) --seed $$seed \
		--output runs/lite2_$$seed || exit; done
	$(BIN) -m tools.average_weights runs/lite2_2034/last.safetensors runs/lite2_2035/last.safetensors \
		runs/lite2_2036/last.safetensors --output runs/lite2_three.safetensors
	for seed in 2037 2038; do $(LIGHT) --weights runs/lite2_three.safetensors --epochs 12 $(FURTHER) --data.validation 0 \
		--seed $$seed --output runs/lite2_$$seed || exit; done
	$(BIN) -m tools.average_weights runs/lite2_2037/last.safetensors runs/lite2_2038/last.safetensors \
		runs/lite2_three.safetensors --output runs/lite2_all.safetensors
	for seed in 2039 2040 2044; do $(LIGHT) --weights runs/lite2_all.safetensors --epochs 36 --data.validation 0 \
		--batch_size 16 --optimizer.lr 8.4e-4 --optimizer.warmup_epochs 0.3 --seed $$seed --output runs/lite2_$$seed || exit; \
	done
	$(BIN) -m tools.average_weights runs/lite2_2039/last.safetensors runs/lite2_2040/last.safetensors \
		runs/lite2_2044/last.safetensors --output runs/lite2_siblings.safetensors
	for seed in 2045 2046; do $(LIGHT) $(ONWARD) --weights runs/lite2_siblings.safetensors --epochs 18 \
		--seed $$seed --output runs/lite2_$$seed || exit; done
	$(BIN) -m tools.average_weights runs/lite2_2045/last.safetensors runs/lite2_2046/last.safetensors \
		--output runs/lite2_pair.safetensors
	for seed in 2047 2048; do $(LIGHT) $(ONWARD) --weights runs/lite2_pair.safetensors --epochs 24 \
		--seed $$seed --output runs/lite2_$$seed || exit; done
	$(BIN) -m tools.average_weights runs/lite2_2047/last.safetensors runs/lite2_2048/last.safetensors \
		--output runs/lite2_six.safetensors
	for seed in 2062 2063; do $(LIGHT) $(WHOLE) --weights runs/lite2_six.safetensors --epochs 11 \
		--seed $$seed --output runs/lite2_$$seed || exit; done
	$(BIN) -m tools.average_weights runs/lite2_2062/last.safetensors runs/lite2_2063/last.safetensors \
		--output runs/lite2_eight.safetensors
	$(BIN) -m tools.prune runs/lite2_eight.safetensors runs/lite2_eorssd.safetensors --half

# Each training starts from the last one's weights, with the rate restarted. Refined blocks begin as nothing; they come with
# the transformer as it is first, then with all of it but its first half, and with the SR branch again; that twice, the second
# time with nothing held back; and three times more as the refined blocks came, the last time without crops.
STRONG := $(BIN) train.py --config configs/strong.yaml --resume
LONG := --batch_size 16 --optimizer.lr 7e-4 --optimizer.warmup_epochs 0.5
REFINED := --detector.refined true --detector.drop_path 0.2 --foreground_prior 0.05 --optimizer.encoder_lr_factor 0.2
strong: $(VENV)/installed
	$(STRONG) --output runs/strong
	$(STRONG) --weights runs/strong/best.safetensors --epochs 6 --optimizer.lr 7e-4 --optimizer.warmup_epochs 0.3 \
		--output runs/strong2
	$(STRONG) --weights runs/strong2/best.safetensors --epochs 5 $(FURTHER) --seed 2022 --output runs/strong3
	$(BIN) -m tools.average_weights runs/strong3/last.safetensors runs/strong2/best.safetensors \
		--output runs/strong_mean.safetensors
	$(BIN) -m tools.prune runs/strong_mean.safetensors runs/strong_half.safetensors --half
	for seed in 2024 2025; do $(STRONG) $(LONG) --weights runs/strong_half.safetensors --epochs 23 --seed $$seed \
		--output runs/strong_$$seed || exit; done
	$(BIN) -m tools.average_weights runs/strong_2024/last.safetensors runs/strong_2025/last.safetensors \
		--output runs/strong_siblings.safetensors
	$(STRONG) $(ALONE) $(REFINED) $(FURTHER) --weights runs/strong_siblings.safetensors --epochs 9 \
		--optimizer.frozen_blocks 12 --seed 2041 --output runs/strong_refined
	for seed in 2051 2052; do $(STRONG) $(REFINED) $(LONG) --weights runs/strong_refined/last.safetensors --epochs 30 \
		--seed $$seed --output runs/strong_$$seed || exit; done
	$(BIN) -m tools.average_weights runs/strong_2051/last.safetensors runs/strong_2052/last.safetensors \
		runs/strong_refined/last.safetensors --output runs/strong_three.safetensors
	for seed in 2053 2054 2055; do $(STRONG) $(REFINED) $(LONG) --weights runs/strong_three.safetensors --epochs 27 \
		--data.validation 0 --seed $$seed --output runs/strong_$$seed || exit; done
	$(BIN) -m tools.average_weights runs/strong_2053/last.safetensors runs/strong_2054/last.safetensors \
		runs/strong_2055/last.safetensors runs/strong_three.safetensors --output runs/strong_four.safetensors
	for seed in 2056 2057; do $(STRONG) $(ONWARD) $(REFINED) --weights runs/strong_four.safetensors --epochs 6 \
		--optimizer.frozen_blocks 12 --seed $$seed --output runs/strong_$$seed || exit; done
	$(BIN) -m tools.average_weights runs/strong_2056/last.safetensors runs/strong_2057/last.safetensors \
		runs/strong_four.safetensors --output runs/strong_six.safetensors
	for seed in 2058 2059; do $(STRONG) $(ONWARD) $(REFINED) --weights runs/strong_six.safetensors --epochs 8 \
		--optimizer.frozen_blocks 12 --seed $$seed --output runs/strong_$$seed || exit; done
	$(BIN) -m tools.average_weights runs/strong_2058/last.safetensors runs/strong_2059/last.safetensors \
		--output runs/strong_eight.safetensors
	for seed in 2066 2067; do $(STRONG) $(WHOLE) $(REFINED) --weights runs/strong_eight.safetensors --epochs 12 \
		--optimizer.frozen_blocks 12 --seed $$seed --output runs/strong_$$seed || exit; done
	$(BIN) -m tools.average_weights runs/strong_2066/last.safetensors runs/strong_2067/last.safetensors \
		--output runs/strong_ten.safetensors
	$(BIN) -m tools.prune runs/strong_ten.safetensors runs/strong_eorssd.safetensors --half

$(VENV)/installed: requirements.txt | $(VENV)/bin/python
	$(BIN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/installed-dev: $(wildcard requirements*.txt) | $(VENV)/bin/python
	$(BIN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
