// TIFF and GeoTIFF files: chosen bands in a chosen range become 8-bit RGB; nodata and transparent pixels are left out.

import { fromArrayBuffer } from "geotiff";
import { lonLatOf } from "./geo.js";
import { Problem, refuseHuge } from "./problem.js";

const WHITE_IS_ZERO = 0;
const CONVERTED = [3, 5, 6, 8]; // palette, CMYK, YCbCr, CIE L*a*b*: geotiff.js makes RGB of them
const TYPES = { 1: "unsigned", 2: "signed", 3: "floating-point" };

// Return the 2nd and the 98th percentile of all bands together, from about 100,000 valid pixels of each.
function percentiles(rasters, valid) {
  const values = [];
  for (const raster of rasters) {
    const step = Math.max(1, Math.floor(raster.length / 1e5));
    for (let i = 0; i < raster.length; i += step) if (!valid || valid[i]) values.push(raster[i]);
  }
  if (!values.length) throw new Problem("This TIFF file holds no valid pixel in these bands. Choose other bands.");
  values.sort((a, b) => a - b);
  const at = (share) => values[Math.round(share * (values.length - 1))];
  if (at(0.02) < at(0.98)) return [at(0.02), at(0.98)];
  return values[0] < values.at(-1) ? [values[0], values.at(-1)] : [values[0], values[0] + 1];
}

// Return 1 where a pixel counts: not nodata in every band, finite, and not transparent. null where all pixels count.
function validPixels(rasters, alpha, nodata) {
  const valid = new Uint8Array(rasters[0].length);
  let all = true;
  for (let i = 0; i < valid.length; i++) {
    const there = (!alpha || alpha[i] > 0) && rasters.every((raster) => Number.isFinite(raster[i]))
      && (nodata === null || rasters.some((raster) => raster[i] !== nodata));
    valid[i] = Number(there);
    all &&= there;
  }
  return all ? null : valid;
}

function toBytes(rasters, valid, [least, greatest]) {
  const size = rasters[0].length;
  const rgb = new Uint8ClampedArray(size * 3); // it rounds to the nearest
  const gain = 255 / (greatest - least);
  rasters.forEach((raster, channel) => {
    for (let i = 0; i < size; i++)
      rgb[i * 3 + channel] = valid && !valid[i] ? 0 : (raster[i] - least) * gain;
  });
  return new Uint8Array(rgb.buffer);
}

function checked(choice, count) {
  if (choice?.bands.some((band) => !(Number.isInteger(band) && band >= 1 && band <= count)))
    throw new Problem(count === 1 ? "This TIFF file has one band. Enter 1 three times."
      : `This TIFF file has bands 1 to ${count}. Enter three of these numbers.`);
  if (choice?.range && !(choice.range[0] < choice.range[1]))
    throw new Problem("The range is empty. The value for black has to be below the value for white.");
}

// Return the samples that are alpha channels, from 0.
function alphaSamples(directory, count) {
  const extra = [...(directory.getValue("ExtraSamples") ?? [])];
  return extra.flatMap((kind, i) => (kind === 1 || kind === 2 ? [count - extra.length + i] : []));
}

// Return {rgb, valid, raster, notices} of the chosen bands. choice: {bands: three, from 1, range: [low, high] or null}.
async function readBands(image, choice) {
  const directory = image.fileDirectory;
  const [bits, samples] = [image.getBitsPerSample(), image.getSamplesPerPixel()];
  const format = directory.getValue("SampleFormat")?.[0] ?? 1;
  const [alpha] = alphaSamples(directory, samples);
  const count = alpha === samples - 1 ? samples - 1 : samples;
  checked(choice, count);
  const bands = choice?.bands ?? (count >= 3 ? [1, 2, 3] : [1, 1, 1]);
  const wanted = [...new Set([...bands.map((band) => band - 1), ...(alpha === undefined ? [] : [alpha])])];
  const read = await image.readRasters({ samples: wanted });
  const at = (sample) => read[wanted.indexOf(sample)];
  const rasters = bands.map((band) => at(band - 1));
  const valid = validPixels(rasters, alpha === undefined ? null : at(alpha), image.getGDALNoData());
  const plain = bits <= 8 && format === 1;
  const range = choice?.range ?? (plain ? [0, 2 ** bits - 1] : percentiles(rasters, valid));
  const notices = [];
  if (!plain)
    notices.push(`This file has ${bits}-bit ${TYPES[format] ?? ""} pixels: `
      + `${range[0]} becomes black, ${range[1]} white. Both can be set under GeoTIFF.`);
  if (valid) notices.push("Pixels without data are left out of the map.");
  const inverted = directory.getValue("PhotometricInterpretation") === WHITE_IS_ZERO;
  const rgb = toBytes(rasters, valid, inverted ? [range[1], range[0]] : range);
  return { rgb, valid, notices, raster: { bands, count, range, automatic: !choice?.range } };
}

// Return what decode returns, and raster: {bands, count, range, automatic} for the page's choices, valid, geo.
export async function openTiff(buffer, choice) {
  let image;
  try {
    image = await (await fromArrayBuffer(buffer)).getImage();
  } catch {
    throw new Problem("This TIFF file is broken: its header cannot be read. Save it again.");
  }
  const [width, height] = [image.getWidth(), image.getHeight()];
  refuseHuge(width, height);
  try {
    const geo = lonLatOf(image);
    if (CONVERTED.includes(image.fileDirectory.getValue("PhotometricInterpretation"))) {
      const rgb = new Uint8Array(await image.readRGB({ interleave: true }));
      return { width, height, rgb, notices: [], geo };
    }
    return { width, height, geo, ...(await readBands(image, choice)) };
  } catch (error) {
    if (error instanceof Problem || /allocation|array length/i.test(error.message)) throw error;
    throw new Problem("This TIFF file cannot be decoded: it is damaged, or its compression is unknown. Save it again.");
  }
}
