// From an image file to H×W×3 uint8 pixels as datasets/io.py reads them, with one sentence for what is unusual.

import { decodePng, pngChunks } from "./png.js";
import { Problem, refuseHuge } from "./problem.js";
import { openTiff } from "./tiff.js";

const MOST_BYTES = 400e6;
const DARK_SHARE = 0.001; // of the values, as in datasets/file_warnings.py

function text(bytes, at, length) {
  return String.fromCharCode(...bytes.subarray(at, at + length));
}

export function formatOf(bytes) {
  if (bytes[0] === 137 && text(bytes, 1, 3) === "PNG") return "PNG";
  if (bytes[0] === 255 && bytes[1] === 216 && bytes[2] === 255) return "JPEG";
  if (text(bytes, 0, 4) === "GIF8") return "GIF";
  if (text(bytes, 0, 4) === "RIFF" && text(bytes, 8, 4) === "WEBP") return "WebP";
  if (text(bytes, 0, 2) === "BM") return "BMP";
  if (/^(II[*+]\0|MM\0[*+])/.test(text(bytes, 0, 4))) return "TIFF";
  return null;
}

function readJpegHeader(bytes) {
  for (let at = 2; at + 9 < bytes.length; ) {
    if (bytes[at] !== 255) return {};
    const marker = bytes[at + 1];
    if (marker === 255) {
      at++;
      continue;
    }
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker))
      return { depth: bytes[at + 4], height: (bytes[at + 5] << 8) | bytes[at + 6],
        width: (bytes[at + 7] << 8) | bytes[at + 8], components: bytes[at + 9] };
    at += 2 + ((bytes[at + 2] << 8) | bytes[at + 3]);
  }
  return {};
}

// Return a JPEG file without APP1 and APP2 segments: browsers apply EXIF and profiles whatever is asked.
function plainJpeg(bytes) {
  const parts = [bytes.subarray(0, 2)];
  let at = 2;
  while (at + 4 < bytes.length && bytes[at] === 255 && bytes[at + 1] !== 0xda) {
    if (bytes[at + 1] === 255) { // padding
      at++;
      continue;
    }
    const end = at + 2 + ((bytes[at + 2] << 8) | bytes[at + 3]);
    if (bytes[at + 1] !== 0xe1 && bytes[at + 1] !== 0xe2) parts.push(bytes.subarray(at, end));
    at = end;
  }
  let end = bytes.length - 2;
  while (end > at && !(bytes[end] === 255 && bytes[end + 1] === 217)) end--;
  if (end <= at) throw new Problem("This JPEG file ends early: part of the image is missing. Save it again.");
  return new Blob([...parts, bytes.subarray(at)], { type: "image/jpeg" });
}

// Return a WebP file without its EXIF data and color profile.
function plainWebp(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const parts = [];
  let size = 4;
  for (let at = 12; at + 8 <= bytes.length; ) {
    const end = Math.min(at + 8 + view.getUint32(at + 4, true) + (view.getUint32(at + 4, true) & 1), bytes.length);
    const part = bytes.slice(at, end);
    if (text(part, 0, 4) === "VP8X") part[8] &= ~0b101100; // no profile, no EXIF, no XMP
    if (!["ICCP", "EXIF", "XMP "].includes(text(part, 0, 4))) parts.push(part);
    at = end;
  }
  for (const part of parts) size += part.length;
  const header = bytes.slice(0, 12);
  new DataView(header.buffer).setUint32(4, size, true);
  return new Blob([header, ...parts], { type: "image/webp" });
}

function readWebpHeader(bytes) {
  const kind = text(bytes, 12, 4);
  const at = (i) => bytes[i] ?? 0;
  if (kind === "VP8X")
    return { width: 1 + at(24) + (at(25) << 8) + (at(26) << 16), height: 1 + at(27) + (at(28) << 8) + (at(29) << 16),
      animated: Boolean(at(20) & 2) };
  if (kind === "VP8L") {
    const bits = at(21) | (at(22) << 8) | (at(23) << 16) | (at(24) << 24);
    return { width: (bits & 16383) + 1, height: ((bits >>> 14) & 16383) + 1 };
  }
  return { width: (at(26) | (at(27) << 8)) & 16383, height: (at(28) | (at(29) << 8)) & 16383 };
}

function headerOf(bytes, format) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (format === "PNG") return pngChunks(bytes);
  if (format === "JPEG") return readJpegHeader(bytes);
  if (format === "WebP") return readWebpHeader(bytes);
  if (format === "GIF" && bytes.length > 10)
    return { width: view.getUint16(6, true), height: view.getUint16(8, true), animated: frames(bytes) > 1 };
  if (format === "BMP" && bytes.length > 26)
    return { width: view.getInt32(18, true), height: Math.abs(view.getInt32(22, true)) };
  return {};
}

// Count a GIF's frames, up to two.
function frames(bytes) {
  const table = (flags) => (flags & 128 ? 3 << ((flags & 7) + 1) : 0);
  let at = 13 + table(bytes[10]);
  let count = 0;
  while (at < bytes.length && count < 2) {
    if (bytes[at] === 0x2c) {
      count++;
      at += 11 + table(bytes[at + 9]);
    } else if (bytes[at] === 0x21) at += 2;
    else break;
    while (bytes[at]) at += bytes[at] + 1;
    at++;
  }
  return count;
}

async function browserPixels(file, notices) {
  const options = { imageOrientation: "none", colorSpaceConversion: "none", premultiplyAlpha: "none" };
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, options);
  } catch {
    throw new Problem("This image is broken: the browser cannot decode it. Save it again.");
  }
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const rgba = context.getImageData(0, 0, width, height).data;
  const rgb = new Uint8Array(width * height * 3);
  let transparent = false;
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    rgb[to++] = rgba[from];
    rgb[to++] = rgba[from + 1];
    rgb[to++] = rgba[from + 2];
    transparent ||= rgba[from + 3] < 255;
  }
  if (transparent) notices.push("Transparent pixels count as black.");
  return { width, height, rgb };
}

// Refuse 16-bit values that hardly reach a quarter of their range: the high byte would be almost black.
function refuseDark(rgb) {
  let [bright, black] = [0, true];
  for (const value of rgb) {
    if (value >= 64) bright++;
    if (value) black = false;
  }
  if (!black && bright <= DARK_SHARE * rgb.length)
    throw new Problem("This file's 16-bit values hardly reach a quarter of their range, as if they had 11 or 12 bits. "
      + "Save it with 8 bits, or as TIFF, whose range the page can set.");
}

const WITHOUT_METADATA = { JPEG: plainJpeg, WebP: plainWebp };

function remarks(format, header) {
  const found = [];
  if (header.animated) found.push("This file is animated: the first frame is used.");
  if (header.depth === 16) found.push("This file has 16 bits a channel: the high byte of each is used.");
  if (format === "JPEG" && header.components === 4)
    found.push("This JPEG file has CMYK colors: the browser converts them, so the map may differ from getsmaps.py.");
  return found;
}

// Return {width, height, rgb, notices}, for TIFF files raster, valid and geo too. Raises Problem with one sentence.
export async function decode(file, choice) {
  if (!file.size) throw new Problem("This file is empty. Choose an image file.");
  if (file.size > MOST_BYTES)
    throw new Problem(`This file has ${Math.round(file.size / 1e6)} MB and the page takes up to ${MOST_BYTES / 1e6}. `
      + "Crop the image, or use getsmaps.py.");
  const bytes = new Uint8Array(await file.arrayBuffer());
  const format = formatOf(bytes);
  if (!format)
    throw new Problem("This file is not an image that the page reads. Choose PNG, JPEG, WebP, GIF, BMP or TIFF.");
  if (format === "TIFF") return openTiff(bytes.buffer, choice);
  const header = headerOf(bytes, format);
  if (!header.width || !header.height)
    throw new Problem(`This ${format} file is broken: it states no size. Save it again.`);
  if (format === "JPEG" && header.depth !== 8)
    throw new Problem(`This JPEG file has ${header.depth} bits a channel and the page reads 8. Save it as PNG.`);
  refuseHuge(header.width, header.height);
  const notices = remarks(format, header);
  if (format === "PNG") {
    const rgb = await decodePng(bytes);
    if (header.depth === 16) refuseDark(rgb);
    return { width: header.width, height: header.height, rgb, notices };
  }
  return { ...(await browserPixels(WITHOUT_METADATA[format]?.(bytes) ?? file, notices)), notices };
}
