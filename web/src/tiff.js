// TIFF and GeoTIFF files: chosen bands in a chosen range become 8-bit RGB.

import { fromArrayBuffer } from "geotiff";
import { refuseHuge } from "./decode.js";
import { lonLatOf } from "./geo.js";
import { Problem } from "./problem.js";

const RGB_ONLY = [0, 3, 5, 6, 8]; // white is zero, palette, CMYK, YCbCr, CIE L*a*b*: geotiff.js converts them

// Return the 2nd and the 98th percentile of the bands, from about 100,000 pixels; 0–255 for 8-bit pixels.
function rangeOf(rasters, bits, nodata) {
  if (bits === 8) return [0, 255];
  const values = [];
  for (const raster of rasters) {
    const step = Math.max(1, Math.floor(raster.length / 1e5));
    for (let i = 0; i < raster.length; i += step)
      if (Number.isFinite(raster[i]) && raster[i] !== nodata) values.push(raster[i]);
  }
  if (!values.length) throw new Problem("This TIFF file holds no valid pixel in these bands. Choose other bands.");
  values.sort((a, b) => a - b);
  const at = (share) => values[Math.round(share * (values.length - 1))];
  return at(0.02) < at(0.98) ? [at(0.02), at(0.98)] : [values[0], values.at(-1)];
}

function toBytes(rasters, size, [least, greatest], nodata) {
  const rgb = new Uint8Array(size * 3);
  const gain = 255 / (greatest - least || 1);
  rasters.forEach((raster, channel) => {
    for (let i = 0; i < size; i++) {
      const value = raster[i] === nodata || Number.isNaN(raster[i]) ? least : raster[i];
      rgb[i * 3 + channel] = Math.min(Math.max((value - least) * gain, 0), 255);
    }
  });
  return rgb;
}

// Return what decode returns; raster: {bands, count, range, bits, geo} for the page's choices.
export async function openTiff(buffer, choice) {
  let image;
  try {
    image = await (await fromArrayBuffer(buffer)).getImage();
  } catch {
    throw new Problem("This TIFF file is broken: its header cannot be read. Save it again.");
  }
  const [width, height] = [image.getWidth(), image.getHeight()];
  refuseHuge(width, height);
  const [bits, count] = [image.getBitsPerSample(), image.getSamplesPerPixel()];
  const geo = lonLatOf(image);
  const notices = [];
  try {
    if (RGB_ONLY.includes(image.fileDirectory.getValue("PhotometricInterpretation"))) {
      const rgb = new Uint8Array(await image.readRGB({ interleave: true }));
      return { width, height, rgb, notices, raster: null, geo };
    }
    const bands = choice?.bands ?? (count >= 3 ? [1, 2, 3] : [1, 1, 1]);
    if (bands.some((band) => !(band >= 1 && band <= count)))
      throw new Problem(`This TIFF file has bands 1 to ${count}. Choose bands among them.`);
    const distinct = [...new Set(bands)];
    const read = await image.readRasters({ samples: distinct.map((band) => band - 1) });
    const rasters = bands.map((band) => read[distinct.indexOf(band)]);
    const nodata = image.getGDALNoData();
    const range = choice?.range ?? rangeOf(rasters, bits, nodata);
    if (!(range[0] < range[1])) throw new Problem("The range is empty. Give a lower value below the upper one.");
    if (bits !== 8) notices.push(`This file has ${bits} bits a channel: ${range[0]} becomes black and ${range[1]} white.`);
    const rgb = toBytes(rasters, width * height, range, nodata);
    return { width, height, rgb, notices, raster: { bands, count, range, bits }, geo };
  } catch (error) {
    if (error instanceof Problem) throw error;
    throw new Problem("This TIFF file cannot be decoded: it is damaged, or its compression is unknown. Save it again.");
  }
}
