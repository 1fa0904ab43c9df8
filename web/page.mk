# make page       builds site/: a page that runs the light network in the browser, and site/single.html in one file
# make page-test  builds it and tries it in headless Chromium
.PHONY: page page-test

page: site/index.html

site/index.html: web/build.mjs web/model.onnx web/node_modules/.installed $(wildcard web/src/* web/samples/*)
	node web/build.mjs web/model.onnx site

web/model.onnx: web/model.py weights/lite2_eorssd_int8.onnx $(VENV)/installed-dev
	$(BIN) web/model.py $@

web/node_modules/.installed: web/package-lock.json
	cd web && npm ci --ignore-scripts --no-audit --no-fund
	touch $@

page-test: page
	$(BIN) -m pytest tests/web
