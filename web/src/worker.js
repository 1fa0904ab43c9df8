// The network and the pixels, away from the page's thread.

import * as ort from "ort";
import { decode } from "./decode.js";
import { areaOf } from "./geo.js";
import { extentOf, grayLevels, stretched } from "./maps.js";
import { encodePng } from "./png.js";
import { polygonsOf } from "./polygons.js";
import { Problem } from "./problem.js";
import { resizeMap, resizeRgb } from "./resize.js";
import { countTiles, tiledSaliency } from "./tiles.js";

const SIDE = 224;
const OUT = 448;
const CANCELLED = new Problem("Cancelled.");
const VIEW = 1024; // the longest side that the page shows
let session = null;
let image = null; // {name, width, height, rgb, notices}, of a TIFF file valid, raster and geo too
let result = null; // {saliency, width, height}
let cancelled = false;

async function open({ threads, provider, model, wasm, folder }) {
  const start = performance.now();
  Object.assign(ort.env.wasm, { numThreads: threads, ...(wasm ? { wasmBinary: wasm } : { wasmPaths: folder }) });
  ort.env.logLevel = "error";
  const data = model ?? (await fetchBytes(new URL("model.onnx", folder)));
  // Without this ONNX Runtime would unpack the 8-bit weights again for every image.
  const extra = { session: { disable_quant_qdq: "1" } };
  session = await ort.InferenceSession.create(data, { executionProviders: [provider], extra, logSeverityLevel: 3 });
  return { milliseconds: performance.now() - start };
}

async function fetchBytes(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Problem(`The network file cannot be loaded (${response.status}). Reload the page.`);
  return new Uint8Array(await response.arrayBuffer());
}

async function network(pixels) {
  const input = new ort.Tensor("uint8", new Uint8Array(pixels.buffer), [1, SIDE, SIDE, 3]);
  const { saliency } = await session.run({ image: input }, ["saliency"]);
  return saliency.data;
}

function viewSize({ width, height }) {
  const scale = Math.min(1, VIEW / Math.max(width, height));
  return [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
}

async function load({ file, choice }) {
  result = null;
  image = null;
  image = { name: file.name || "image.png", ...(await decode(file, choice)) };
  const [width, height] = viewSize(image);
  const rgb = resizeRgb(image.rgb, image.width, image.height, width, height).slice(); // the page takes it over
  return { width: image.width, height: image.height, view: { width, height, rgb }, notices: image.notices,
    raster: image.raster ?? null };
}

// Return an H×W map that is 0 where the file has no data.
function withoutNodata(saliency, width, height) {
  const { valid } = image;
  if (!valid) return saliency;
  for (let y = 0, at = 0; y < height; y++) {
    const row = Math.floor(((y + 0.5) * image.height) / height) * image.width;
    for (let x = 0; x < width; x++, at++)
      if (!valid[row + Math.floor(((x + 0.5) * image.width) / width)]) saliency[at] = 0;
  }
  return saliency;
}

function crop(x0, y0, w, h) {
  const pixels = new Uint8Array(w * h * 3);
  for (let y = 0; y < h; y++) {
    const from = ((y0 + y) * image.width + x0) * 3;
    pixels.set(image.rgb.subarray(from, from + w * 3), y * w * 3);
  }
  return pixels;
}

async function inTiles(sizes, report) {
  const { width, height } = image;
  const all = countTiles(width, height, sizes);
  let done = 0;
  return tiledSaliency(width, height, sizes, async (x, y, w, h) => {
    await new Promise((resolve) => setTimeout(resolve)); // let a cancel message in
    if (cancelled) throw CANCELLED;
    const saliency = resizeMap(await network(resizeRgb(crop(x, y, w, h), w, h, SIDE, SIDE)), OUT, OUT, w, h);
    report({ done: ++done, all });
    return saliency;
  });
}

// tiles: sizes in pixels; none for the image as a whole. A cancelled or failed run leaves the earlier result.
async function predict({ tiles }, report) {
  cancelled = false;
  const { width, height, rgb } = image;
  const start = performance.now();
  const saliency = tiles.length ? await inTiles(tiles, report)
    : (await network(resizeRgb(rgb, width, height, SIDE, SIDE))).slice();
  const milliseconds = performance.now() - start;
  const size = tiles.length ? { width, height } : { width: OUT, height: OUT };
  result = { saliency: withoutNodata(saliency, size.width, size.height), ...size };
  const [w, h] = viewSize(image);
  const view = withoutNodata(resizeMap(saliency, size.width, size.height, w, h).slice(), w, h);
  return { milliseconds, extent: extentOf(saliency), view };
}

// Return gray levels and their size: as getsmaps.py writes them, or at the image's own size.
function levelsOf({ size, stretch }) {
  let { saliency, width, height } = result;
  if (size === "original" && (width !== image.width || height !== image.height)) {
    saliency = resizeMap(saliency, width, height, image.width, image.height);
    ({ width, height } = image);
    withoutNodata(saliency, width, height);
  }
  return { levels: grayLevels(stretch ? stretched(saliency) : saliency), width, height };
}

function cutOut(levels, mask) {
  const rgba = new Uint8Array(levels.length * 4);
  for (let i = 0, from = 0, to = 0; i < levels.length; i++) {
    for (let channel = 0; channel < 3; channel++) rgba[to++] = image.rgb[from++];
    rgba[to++] = mask[i] && levels[i];
  }
  return rgba;
}

function polygons(mask, levels, width, height, smallest) {
  const toLonLat = image.geo?.toLonLat;
  const found = polygonsOf(mask, levels, width, height, { smallest, geo: toLonLat ? { toLonLat, areaOf } : null });
  const unknown = image.geo && !toLonLat;
  return { blob: new Blob([JSON.stringify(found)], { type: "application/geo+json" }), count: found.features.length,
    notice: unknown ? `They are in pixels: the page does not know the map projection ${image.geo.code ?? ""}.` : null };
}

// kind: map, mask, cutout or polygons. Return {blob, name}, of polygons count and notice too.
async function save({ kind, threshold, smallest, ...settings }) {
  const own = kind === "cutout" || kind === "polygons";
  const { levels, width, height } = levelsOf(own ? { ...settings, size: "original" } : settings);
  const mask = levels.map((level) => (level >= threshold ? 255 : 0));
  const name = `${image.name.replace(/\.[^.]*$/, "")}_${kind}`;
  if (kind === "polygons") return { name: `${name}.geojson`, ...polygons(mask, levels, width, height, smallest) };
  const blob = kind === "cutout" ? await encodePng(cutOut(levels, mask), width, height, 4)
    : await encodePng(kind === "map" ? levels : mask, width, height, 1);
  return { name: `${name}.png`, blob };
}

// ONNX Runtime throws numbers too.
function sentence(error) {
  if (error instanceof Problem) return error.message;
  if (error instanceof RangeError) return "There is not enough memory for this image. Crop it, or close other tabs.";
  const cause = String(error?.message ?? error).split("\n")[0].slice(0, 200);
  return `This did not work: ${cause}. Try another image or reload the page.`;
}

const METHODS = { open, load, predict, save };

async function answer({ id, method, options }) {
  try {
    const value = await METHODS[method](options, (progress) => self.postMessage({ id, progress }));
    const pixels = value.view?.rgb ?? value.view;
    self.postMessage({ id, value }, pixels ? [pixels.buffer] : []);
  } catch (error) {
    self.postMessage({ id, problem: sentence(error), cancelled: error === CANCELLED });
  }
}

self.onmessage = ({ data }) => {
  if (data.method === "cancel") cancelled = true;
  else answer(data);
};
