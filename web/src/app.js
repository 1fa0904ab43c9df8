// The page: what is chosen, run and saved. The worker decodes, computes and encodes.

import { call, cancel, embedded, hasWebGpu, openNetwork } from "./engine.js";
import { controlled, keepOffline } from "./offline.js";
import { countTiles } from "./tiles.js";
import { changeLevels, drawResult, listenForDivider, showImage, showMap } from "./view.js";

const $ = (id) => document.getElementById(id);
const LARGE = 1.5e6; // pixels; above this the page offers tiles
const OFFERED = "320,640"; // the tiles that scenes are best seen in

// file: what was given; choice: its bands and range; image: what the worker read; tiles: those of the shown map.
const state = { file: null, choice: null, image: null, tiles: null, fallback: null };
let ready = null;
let engine = "";

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

function remark() {
  const texts = [...(state.fallback ? [state.fallback] : []), ...(state.image?.notices ?? [])];
  const items = texts.map((text) => Object.assign(document.createElement("li"), { textContent: text }));
  $("notices").replaceChildren(...items);
}

// Jobs run one after another. A newer job overtakes those that wait, and cancels the tiles that are being computed;
// a save does neither. A job that fails says so in one sentence.
let turn = 0;
let last = Promise.resolve();
function job(work, { overtakes = true } = {}) {
  if (overtakes) cancel();
  const own = overtakes ? ++turn : turn;
  last = last.then(async () => {
    if (own !== turn) return;
    document.body.setAttribute("aria-busy", "true");
    try {
      await ready;
      await work();
    } catch (error) {
      if (own === turn) say(error.message, !error.cancelled);
    } finally {
      if (own === turn) document.body.removeAttribute("aria-busy");
      $("work").hidden = true;
      allow(state.tiles !== null);
      offer();
    }
  });
  return last;
}

function allow(there) {
  $("saving").disabled = !there;
  $("compare").disabled = !there;
  if (!there) return;
  const whole = !state.tiles.length;
  $("size").querySelector('[value="network"]').disabled = !whole;
  if (!whole) $("size").value = "original";
}

async function open(provider) {
  say("Loading the network…");
  state.fallback = null;
  let opened;
  try {
    opened = await openNetwork(provider);
  } catch (error) {
    if (provider === "wasm") throw error;
    $("provider").value = "wasm";
    opened = await openNetwork("wasm");
    state.fallback = `WebGPU does not work here, so WebAssembly computes the maps. ${error.message}`;
  }
  engine = opened.name;
  remark();
  say(`The network is ready after ${Math.round(opened.milliseconds)} ms (${engine}).`);
}

function show(file) {
  return job(() => {
    [state.file, state.choice] = [file, null];
    $("raster").hidden = true;
    return read([]);
  });
}

async function read(tiles) {
  say("Reading the image…");
  [state.image, state.tiles] = [null, null];
  allow(false);
  showImage(null);
  remark();
  state.image = await call("load", { file: state.file, choice: state.choice });
  remark();
  fillRaster(state.image.raster);
  showImage(state.image.view);
  await predict(tiles);
}

const chosenTiles = () => $("tiles").value.split(",").filter(Boolean).map(Number);

async function predict(tiles) {
  const { width, height } = state.image;
  $("tiles").value = tiles.join(",");
  const all = countTiles(width, height, tiles);
  say(tiles.length ? `Computing ${all} tiles…` : "Computing the map…");
  showProgress(0, all, 0);
  $("work").hidden = !tiles.length;
  $("saving").disabled = true;
  $("offer").hidden = true;
  const start = performance.now();
  try {
    const { milliseconds, extent, view } = await call("predict", { tiles }, ({ done }) =>
      showProgress(done, all, performance.now() - start));
    state.tiles = tiles;
    showMap(view, extent);
    say(`${width}×${height} pixels in ${Math.round(milliseconds)} ms (${engine}).`);
  } catch (error) {
    $("tiles").value = (state.tiles ?? []).join(",");
    if (error.cancelled) error.message += state.tiles ? " The earlier map is kept." : " There is no map yet.";
    throw error;
  }
}

function showProgress(done, all, milliseconds) {
  $("progress").value = all && done / all;
  const left = Math.ceil(((milliseconds / done) * (all - done)) / 1000);
  $("count").textContent = done ? `${done} of ${all}, ${left} s left` : "";
}

// Offer tiles for a large image that was computed as a whole.
function offer() {
  const { width = 0, height = 0 } = state.image ?? {};
  $("offer").hidden = width * height <= LARGE || state.tiles === null || state.tiles.length > 0;
  if ($("offer").hidden) return;
  $("offer-count").textContent = countTiles(width, height, OFFERED.split(",").map(Number));
}

function fillRaster(raster) {
  $("raster").hidden = !raster;
  if (!raster) return;
  raster.bands.forEach((band, i) => Object.assign($(`band-${i}`), { value: band, max: raster.count }));
  raster.range.forEach((value, i) => ($(`range-${i}`).value = value));
  $("automatic").checked = raster.automatic;
}

function chooseRaster() {
  const values = (name, count) => Array.from({ length: count }, (_, i) => $(`${name}-${i}`).valueAsNumber);
  const tiles = chosenTiles();
  return job(() => {
    state.choice = { bands: values("band", 3), range: $("automatic").checked ? null : values("range", 2) };
    return read(tiles);
  });
}

function save(kind) {
  return job(async () => {
    const settings = { kind, threshold: Number($("threshold").value), size: $("size").value,
      stretch: $("stretch").checked, smallest: $("smallest").valueAsNumber || 1 };
    const { blob, name, count, notice } = await call("save", settings);
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    const objects = count === undefined ? "" : ` Polygons: ${count}.`;
    say(`Saved as ${name}.${objects}${notice ? ` ${notice}` : ""}`);
  }, { overtakes: false });
}

async function sample(button) {
  const { src } = button.querySelector("img");
  const blob = src.startsWith("data:")
    ? new Blob([Uint8Array.from(atob(src.split(",")[1]), (letter) => letter.charCodeAt(0))])
    : await fetch(src).then((response) => (response.ok ? response.blob() : null), () => null);
  if (!blob) return say("The sample cannot be loaded. Check the connection, or choose an image of your own.", true);
  return show(new File([blob], `${button.dataset.sample}.jpg`, { type: "image/jpeg" }));
}

function listenForImages() {
  $("file").addEventListener("change", () => {
    const [file] = $("file").files;
    if (file) show(file);
    $("file").value = "";
  });
  $("choose").addEventListener("click", () => $("file").click());
  for (const type of ["dragover", "dragleave", "drop"])
    addEventListener(type, (event) => {
      event.preventDefault();
      $("stage").classList.toggle("over", type === "dragover");
      if (type !== "drop") return;
      const [file] = event.dataTransfer.files;
      if (file) show(file);
      else say("What was dropped is not a file. Drop an image file.", true);
    });
  addEventListener("paste", (event) => {
    const [file] = event.clipboardData.files;
    if (file) show(file);
    else if (!event.target.closest?.("input"))
      say("The clipboard holds no image. Copy an image and paste again.", true);
  });
  for (const button of document.querySelectorAll("[data-sample]"))
    button.addEventListener("click", () => sample(button));
}

function compute() {
  const tiles = chosenTiles();
  if (state.image) job(() => predict(tiles));
}

function changeProvider() {
  const tiles = chosenTiles();
  ready = open($("provider").value);
  job(() => state.image && read(tiles));
}

function listenForSettings() {
  for (const input of document.querySelectorAll('input[name="layer"], #colors'))
    input.addEventListener("change", drawResult);
  $("threshold").addEventListener("input", drawResult);
  $("stretch").addEventListener("change", changeLevels);
  $("tiles").addEventListener("change", compute);
  $("accept").addEventListener("click", () => {
    $("tiles").value = OFFERED;
    compute();
  });
  $("cancel").addEventListener("click", cancel);
  $("read").addEventListener("click", chooseRaster);
  for (const i of [0, 1]) $(`range-${i}`).addEventListener("input", () => ($("automatic").checked = false));
  $("provider").addEventListener("change", changeProvider);
  for (const button of document.querySelectorAll("[data-save]"))
    button.addEventListener("click", () => save(button.dataset.save));
  document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
}

async function offerWebGpu() {
  const option = $("provider").querySelector('[value="webgpu"]');
  option.disabled = !(await hasWebGpu());
  if (option.disabled) option.textContent += embedded ? " (not in this file)" : " (no adapter here)";
}

listenForImages();
listenForSettings();
listenForDivider();
offerWebGpu();
ready = controlled().then(() => open("wasm"));
ready.catch((error) => say(error.message, true)).then(keepOffline);
