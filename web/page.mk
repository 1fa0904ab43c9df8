# The page in web/: the targets page and page-test, included by the Makefile.
#
# MODEL=file.onnx   another network that inference.export wrote
MODEL ?=

# The shell reads it from the environment, so that spaces and quotes in it stay what they are.
export PAGE_MODEL := $(value MODEL)

.PHONY: page page-test

page: $(if $(value MODEL),,web/model.onnx) web/node_modules/.installed
	node web/build.mjs "$${PAGE_MODEL:-web/model.onnx}" site

web/model.onnx: web/model.py weights/lite2_eorssd_int8.onnx | $(VENV)/installed-dev
	$(BIN) -m web.model $@

web/node_modules/.installed: web/package.json web/package-lock.json
	@command -v node >/dev/null && command -v npm >/dev/null \
		|| { echo "error: the page needs Node.js 18 or newer with npm: install nodejs and npm" >&2; exit 1; }
	cd web && npm ci --ignore-scripts --no-audit --no-fund
	touch $@

# Without Node.js the tests are skipped with the reason; pytest's status 5 says that none ran.
page-test: $(if $(shell command -v node),page) $(VENV)/installed-dev
	$(BIN) -m pytest tests/web || test $$? -eq 5
