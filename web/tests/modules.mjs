// `node modules.mjs`: read a JSON object of cases from standard input, and print what the page's modules make of them.

import { readFileSync } from "node:fs";
import { areaOf, lonLatOf } from "../src/geo.js";
import { decodePng } from "../src/png.js";
import { polygonsOf } from "../src/polygons.js";
import { resizeMap, resizeRgb } from "../src/resize.js";
import { openTiff } from "../src/tiff.js";
import { tiledSaliency } from "../src/tiles.js";

const cases = JSON.parse(readFileSync(0));
const list = (pixels) => Array.from(pixels);
const bytesOf = (path) => new Uint8Array(readFileSync(path));

function georeferenced({ code, geographic }) {
  const tags = { ModelPixelScale: [1, 1, 0], ModelTiepoint: [0, 0, 0, 0, 0, 0] };
  return lonLatOf({
    getGeoKeys: () => (geographic ? { GeographicTypeGeoKey: code } : { ProjectedCSTypeGeoKey: code }),
    fileDirectory: { getValue: (name) => tags[name] },
  });
}

async function tiff({ path, choice }) {
  const bytes = bytesOf(path);
  try {
    const { rgb, valid, raster, notices } = await openTiff(bytes.buffer, choice);
    return { rgb: list(rgb), valid: valid && list(valid), raster, notices };
  } catch (error) {
    return { problem: error.message };
  }
}

const results = {
  rgb: cases.rgb.map(({ pixels, width, height, to }) => list(resizeRgb(Uint8Array.from(pixels), width, height, ...to))),
  map: cases.map.map(({ pixels, width, height, to }) =>
    list(resizeMap(Float32Array.from(pixels), width, height, ...to))),
  polygons: cases.polygons.map(({ mask, width, height }) => {
    const levels = Uint8Array.from(mask, (value) => value * 200);
    return polygonsOf(Uint8Array.from(mask), levels, width, height);
  }),
  places: cases.places.map(({ points, ...system }) => {
    const { toLonLat } = georeferenced(system);
    return points.map(([x, y]) => toLonLat(x, -y));
  }),
  areas: cases.areas.map(areaOf),
  pngs: await Promise.all(cases.pngs.map(async (path) => list(await decodePng(bytesOf(path))))),
  tiffs: await Promise.all(cases.tiffs.map(tiff)),
  tiles: await Promise.all(cases.tiles.map(async ({ pixels, width, height, sizes }) =>
    list(await tiledSaliency(width, height, sizes, async (x, y, w, h) =>
      Float32Array.from({ length: w * h }, (_, i) =>
        pixels[(y + Math.floor(i / w)) * width + x + (i % w)] * (x + 1)))))),
};
console.log(JSON.stringify(results));
