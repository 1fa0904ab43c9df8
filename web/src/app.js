// The page: what is chosen, shown and saved. All pixel work is done by the worker.

import { colorTable, grayLevels, stretched } from "./maps.js";

const $ = (id) => document.getElementById(id);
const embedded = globalThis.EMBEDDED ?? null; // in the single-file form: {worker, wasm, model, samples} in base64
const folder = new URL("./", document.baseURI).href;
const query = new URLSearchParams(location.search);
const most = globalThis.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 4) : 1;
const threads = Math.min(Number(query.get("threads")) || most, most);
const LARGE = 1500 * 1500; // above this the page suggests tiles

const state = { file: null, image: null, map: null, busy: false };
let worker = null;
let ready = null;
let engine = "";

async function unpacked(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

async function startWorker(provider) {
  if (!embedded) return new Worker(`${folder}worker-${provider}.js`, { type: "module" });
  const code = new Blob([await unpacked(embedded.worker)], { type: "text/javascript" });
  return new Worker(URL.createObjectURL(code));
}

let calls = 0;
const waiting = new Map();

function call(method, options, progress) {
  return new Promise((resolve, reject) => {
    waiting.set(++calls, { resolve, reject, progress });
    worker.postMessage({ id: calls, method, options });
  });
}

function receive({ data: { id, value, problem, progress } }) {
  const caller = waiting.get(id);
  if (progress) return caller.progress?.(progress);
  waiting.delete(id);
  return problem ? caller.reject(new Error(problem)) : caller.resolve(value);
}

function fail(message) {
  for (const caller of waiting.values()) caller.reject(new Error(message));
  waiting.clear();
}

async function openNetwork(provider) {
  worker?.terminate();
  fail("The network was opened anew.");
  worker = await startWorker(provider);
  worker.onmessage = receive;
  worker.onerror = (event) => fail(`The worker stopped: ${event.message || "it cannot be loaded"}. Reload the page.`);
  const files = embedded && { model: new Uint8Array(await unpacked(embedded.model)), wasm: await unpacked(embedded.wasm) };
  const { milliseconds } = await call("open", { provider, threads, folder, ...files });
  engine = provider === "webgpu" ? "WebGPU" : `WebAssembly, ${threads} thread${threads > 1 ? "s" : ""}`;
  return milliseconds;
}

async function open(provider) {
  say("Loading the network…");
  try {
    const milliseconds = await openNetwork(provider);
    say(`The network is ready after ${Math.round(milliseconds)} ms (${engine}).`);
  } catch (error) {
    if (provider === "wasm") throw error;
    $("provider").value = "wasm";
    await openNetwork("wasm");
    say(`WebGPU does not work here, so the network runs on ${engine}. Reason: ${error.message}`);
  }
}

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

function notices(list) {
  $("notices").replaceChildren(...list.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
}

// Run one job at a time; a job that fails says so in one sentence.
async function job(work) {
  if (state.busy) return;
  state.busy = true;
  document.body.setAttribute("aria-busy", "true");
  try {
    await ready;
    await work();
  } catch (error) {
    say(error.message, true);
  } finally {
    state.busy = false;
    document.body.removeAttribute("aria-busy");
    $("work").hidden = true;
    $("saving").disabled = !state.map;
    $("compare").disabled = !state.map;
  }
}

function clear() {
  state.image = null;
  state.map = null;
  $("stage").classList.add("empty");
  $("raster").hidden = true;
  notices([]);
}

function show(file) {
  return job(async () => {
    clear();
    state.file = file;
    $("tile").value = "0";
    await read(null);
  });
}

async function read(choice) {
  say("Reading the image…");
  state.map = null;
  const image = await call("load", { file: state.file, choice });
  state.image = image;
  const { width, height } = image;
  const suggestion = width * height > LARGE && $("tile").value === "0"
    ? ["This image is large: choose tiles under Run to find small objects."] : [];
  notices([...image.notices, ...suggestion]);
  fillRaster(image.raster);
  drawImage();
  $("stage").classList.remove("empty");
  drawLayer();
  await predict();
}

async function predict() {
  const tile = Number($("tile").value);
  say(tile ? "Computing tiles…" : "Computing the map…");
  $("progress").value = 0;
  $("work").hidden = !tile;
  state.map = null;
  const { milliseconds, view } = await call("predict", { tile }, ({ done, all }) => {
    $("progress").value = done / all;
    say(`Tile ${done} of ${all}`);
  });
  state.map = view;
  const { width, height } = state.image;
  say(`${width}×${height} pixels in ${Math.round(milliseconds)} ms (${engine}).`);
  drawLayer();
}

function fillRaster(raster) {
  $("raster").hidden = !raster;
  if (!raster) return;
  raster.bands.forEach((band, i) => Object.assign($(`band-${i}`), { value: band, max: raster.count }));
  raster.range.forEach((value, i) => ($(`range-${i}`).value = value));
}

function drawImage() {
  const { width, height, rgb } = state.image.view;
  const pixels = new ImageData(width, height);
  for (let i = 0, from = 0; i < pixels.data.length; i += 4) {
    pixels.data[i] = rgb[from++];
    pixels.data[i + 1] = rgb[from++];
    pixels.data[i + 2] = rgb[from++];
    pixels.data[i + 3] = 255;
  }
  for (const id of ["image", "layer"]) Object.assign($(id), { width, height });
  $("image").getContext("2d").putImageData(pixels, 0, 0);
}

function chosen(name) {
  return document.querySelector(`input[name="${name}"]:checked`).value;
}

function drawLayer() {
  const threshold = Number($("threshold").value);
  $("threshold-value").value = threshold;
  if (!state.image) return;
  const kind = chosen("layer");
  const { width, height, rgb } = state.image.view;
  const context = $("layer").getContext("2d");
  $("stage").classList.toggle("cutout", kind === "cutout" && Boolean(state.map));
  $("layer").setAttribute("aria-label", `Result: ${kind}`);
  if (!state.map) return context.clearRect(0, 0, width, height);
  const levels = grayLevels($("stretch").checked ? stretched(state.map) : state.map);
  const table = colorTable($("colors").value);
  const { data } = new ImageData(width, height);
  for (let i = 0; i < levels.length; i++) {
    const level = levels[i];
    const inside = level >= threshold;
    let [color, at, alpha] = [table, level * 3, 255];
    if (kind === "overlay") alpha = inside ? 150 : 0;
    if (kind === "cutout") [color, at, alpha] = [rgb, i * 3, inside ? level : 0];
    for (let channel = 0; channel < 3; channel++)
      data[i * 4 + channel] = kind === "mask" ? (inside ? 255 : 0) : color[at + channel];
    data[i * 4 + 3] = alpha;
  }
  context.putImageData(new ImageData(data, width, height), 0, 0);
  placeDivider();
}

function placeDivider() {
  const percent = Number($("compare").value);
  $("layer").style.clipPath = `inset(0 0 0 ${percent}%)`;
  const [canvas, stage] = [$("layer").getBoundingClientRect(), $("stage").getBoundingClientRect()];
  const left = canvas.left - stage.left + (canvas.width * percent) / 100;
  Object.assign($("divider").style, { left: `${left - 1}px`, top: `${canvas.top - stage.top}px`,
    height: `${canvas.height}px` });
  $("divider").hidden = !state.map;
}

function save(kind) {
  return job(async () => {
    const settings = { kind, threshold: Number($("threshold").value), size: $("size").value, stretch: $("stretch").checked };
    const { blob, name, notice } = await call("save", settings);
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    say(`Saved as ${name}.${notice ? ` ${notice}` : ""}`);
  });
}

async function sample(button) {
  const name = button.dataset.sample;
  const image = button.querySelector("img");
  const blob = await (embedded ? dataBlob(image.src) : fetch(image.src).then((response) => response.blob()));
  await show(new File([blob], `${name}.jpg`, { type: "image/jpeg" }));
}

function dataBlob(url) {
  return new Blob([Uint8Array.from(atob(url.split(",")[1]), (letter) => letter.charCodeAt(0))], { type: "image/jpeg" });
}

function listenForImages() {
  $("file").addEventListener("change", () => {
    const [file] = $("file").files;
    $("file").value = "";
    if (file) show(file);
  });
  $("choose").addEventListener("click", () => $("file").click());
  for (const type of ["dragover", "dragleave", "drop"])
    addEventListener(type, (event) => {
      event.preventDefault();
      $("stage").classList.toggle("over", type === "dragover");
      const file = type === "drop" && event.dataTransfer.files[0];
      if (file) show(file);
      else if (type === "drop") say("What was dropped is not a file. Drop an image file.", true);
    });
  addEventListener("paste", (event) => {
    const [file] = event.clipboardData.files;
    if (file) show(file);
    else say("The clipboard holds no image. Copy an image and paste again.", true);
  });
  for (const button of document.querySelectorAll("[data-sample]"))
    button.addEventListener("click", () => sample(button));
}

function listenForSettings() {
  for (const input of document.querySelectorAll('input[name="layer"], #colors, #stretch'))
    input.addEventListener("change", drawLayer);
  $("threshold").addEventListener("input", drawLayer);
  $("compare").addEventListener("input", placeDivider);
  addEventListener("resize", placeDivider);
  $("tile").addEventListener("change", () => state.image && job(predict));
  $("cancel").addEventListener("click", () => worker.postMessage({ method: "cancel" }));
  $("read").addEventListener("click", () => job(() => {
    const values = (name, count) => Array.from({ length: count }, (_, i) => $(`${name}-${i}`).valueAsNumber);
    return read({ bands: values("band", 3), range: values("range", 2) });
  }));
  $("provider").addEventListener("change", () => job(async () => {
    await (ready = open($("provider").value));
    if (state.file) await read(null);
  }));
  for (const button of document.querySelectorAll("[data-save]"))
    button.addEventListener("click", () => save(button.dataset.save));
}

async function offerWebGpu() {
  if (embedded || !(await navigator.gpu?.requestAdapter().catch(() => null))) return;
  $("provider").querySelector('[value="webgpu"]').disabled = false;
}

// The service worker keeps the page for offline use, and gives it the headers that threads need from the next load on.
function keepOffline() {
  if (!embedded && location.protocol.startsWith("http"))
    navigator.serviceWorker?.register(`${folder}sw.js`).catch(() => {});
}

listenForImages();
listenForSettings();
offerWebGpu();
ready = open("wasm");
ready.catch((error) => say(error.message, true)).then(keepOffline);
