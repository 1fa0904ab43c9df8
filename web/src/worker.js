// The network and the pixels, away from the page's thread.

import * as ort from "ort";
import { decode } from "./decode.js";
import { grayLevels, stretched } from "./maps.js";
import { encodePng } from "./png.js";
import { polygonsOf } from "./polygons.js";
import { Problem } from "./problem.js";
import { resizeMap, resizeRgb } from "./resize.js";
import { tiledSaliency } from "./tiles.js";

const SIDE = 224;
const VIEW = 1024; // the longest side that the page shows
let session = null;
let image = null; // {name, width, height, rgb, geo, …}
let result = null; // {saliency, width, height}
let cancelled = false;

async function open({ threads, provider, model, wasm, folder }) {
  const start = performance.now();
  Object.assign(ort.env.wasm, { numThreads: threads, ...(wasm ? { wasmBinary: wasm } : { wasmPaths: folder }) });
  ort.env.logLevel = "error";
  const data = model ?? (await fetchBytes(new URL("model.onnx", folder)));
  // Without this ONNX Runtime would unpack the 8-bit weights again for every image.
  const extra = { session: { disable_quant_qdq: "1" } };
  session = await ort.InferenceSession.create(data, { executionProviders: [provider], extra });
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
  const { notices, raster = null, geo = null } = image;
  const rgb = resizeRgb(image.rgb, image.width, image.height, width, height).slice(); // the page takes it over
  return { width: image.width, height: image.height, view: { width, height, rgb }, notices, raster, epsg: geo && geo.code };
}

function crop(x0, y0, w, h) {
  const pixels = new Uint8Array(w * h * 3);
  for (let y = 0; y < h; y++) {
    const from = ((y0 + y) * image.width + x0) * 3;
    pixels.set(image.rgb.subarray(from, from + w * 3), y * w * 3);
  }
  return pixels;
}

async function predict({ tile }, report) {
  cancelled = false;
  const { width, height, rgb } = image;
  const start = performance.now();
  if (tile) {
    const one = async (x, y, w, h) =>
      resizeMap(await network(resizeRgb(crop(x, y, w, h), w, h, SIDE, SIDE)), 2 * SIDE, 2 * SIDE, w, h);
    const progress = async (done, all) => {
      report({ done, all });
      await new Promise((resolve) => setTimeout(resolve)); // let a cancel message in
      if (cancelled) throw new Problem("Cancelled: no map was made. Choose whole image or start again.");
    };
    result = { saliency: await tiledSaliency(width, height, tile, one, progress), width, height };
  } else {
    const saliency = await network(resizeRgb(rgb, width, height, SIDE, SIDE));
    result = { saliency, width: 2 * SIDE, height: 2 * SIDE };
  }
  const milliseconds = performance.now() - start;
  const [w, h] = viewSize(image);
  return { milliseconds, view: resizeMap(result.saliency, result.width, result.height, w, h).slice() };
}

// Return gray levels and their size: as getsmaps.py writes them, or at the image's own size.
function levelsOf({ size, stretch }) {
  let { saliency, width, height } = result;
  if (size === "original") {
    saliency = resizeMap(saliency, width, height, image.width, image.height);
    ({ width, height } = image);
  }
  return { levels: grayLevels(stretch ? stretched(saliency) : saliency), width, height };
}

async function save(settings) {
  const { kind, threshold } = settings;
  const own = kind === "cutout" || kind === "polygons" ? { ...settings, size: "original" } : settings;
  const { levels, width, height } = levelsOf(own);
  const name = `${image.name.replace(/\.[^.]*$/, "")}_${kind}`;
  if (kind === "map") return { blob: await encodePng(levels, width, height, 1), name: `${name}.png` };
  const mask = levels.map((level) => (level >= threshold ? 255 : 0));
  if (kind === "mask") return { blob: await encodePng(mask, width, height, 1), name: `${name}.png` };
  if (kind === "cutout") {
    const rgba = new Uint8Array(width * height * 4);
    for (let i = 0; i < levels.length; i++) {
      rgba.set(image.rgb.subarray(i * 3, i * 3 + 3), i * 4);
      rgba[i * 4 + 3] = mask[i] && levels[i];
    }
    return { blob: await encodePng(rgba, width, height, 4), name: `${name}.png` };
  }
  const toLonLat = image.geo?.toLonLat;
  const found = JSON.stringify(polygonsOf(mask, levels, width, height, toLonLat));
  const notice = image.geo && !toLonLat
    ? `The page cannot convert EPSG:${image.geo.code}, so the polygons are in pixel coordinates.` : null;
  return { blob: new Blob([found], { type: "application/geo+json" }), name: `${name}.geojson`, notice };
}

const METHODS = { open, load, predict, save };

async function answer({ id, method, options }) {
  try {
    const value = await METHODS[method](options, (progress) => self.postMessage({ id, progress }));
    const pixels = value.view?.rgb ?? value.view;
    self.postMessage({ id, value }, pixels ? [pixels.buffer] : []);
  } catch (error) {
    const message = error instanceof Problem ? error.message
      : error instanceof RangeError ? "There is not enough memory for this image. Crop it, or close other tabs."
        : `This did not work: ${error.message.split("\n")[0].slice(0, 200)}. Try another image or reload the page.`;
    self.postMessage({ id, problem: message });
  }
}

self.onmessage = ({ data }) => {
  if (data.method === "cancel") cancelled = true;
  else answer(data);
};
