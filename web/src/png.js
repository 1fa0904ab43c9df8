// PNG files read and written by value: a canvas would multiply colors by alpha and convert color profiles.

import { Problem } from "./problem.js";

const PASSES = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];
const CHANNELS = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
const DEPTHS = { 0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16] };

async function through(bytes, stream) {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer());
}

// Return {width, height, depth, color, interlaced, palette, animated, data} of a PNG file's chunks.
export function pngChunks(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const found = { data: [], animated: false, ended: false };
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const body = bytes.subarray(at + 8, at + 8 + length);
    if (type === "IHDR")
      Object.assign(found, { width: view.getUint32(at + 8), height: view.getUint32(at + 12), depth: body[8],
        color: body[9], interlaced: body[12] === 1 });
    if (type === "PLTE") found.palette = body;
    if (type === "acTL") found.animated = true;
    if (type === "IDAT") found.data.push(body);
    if (type === "IEND") found.ended = true;
    at += 12 + length;
  }
  return found;
}

function unfilter(data, at, rows, rowBytes, step) {
  const pixels = new Uint8Array(rows * rowBytes);
  for (let y = 0; y < rows; y++) {
    const filter = data[at++];
    const row = y * rowBytes;
    for (let x = 0; x < rowBytes; x++) {
      const left = x >= step ? pixels[row + x - step] : 0;
      const up = y ? pixels[row + x - rowBytes] : 0;
      const corner = y && x >= step ? pixels[row + x - rowBytes - step] : 0;
      let guess = 0;
      if (filter === 1) guess = left;
      else if (filter === 2) guess = up;
      else if (filter === 3) guess = (left + up) >> 1;
      else if (filter === 4) {
        const a = Math.abs(up - corner);
        const b = Math.abs(left - corner);
        const c = Math.abs(left + up - 2 * corner);
        guess = a <= b && a <= c ? left : b <= c ? up : corner;
      }
      pixels[row + x] = data[at + x] + guess;
    }
    at += rowBytes;
  }
  return pixels;
}

function place(png, pixels, rowBytes, columns, rows, rgb, [x0, y0, dx, dy]) {
  const { width, depth, color, palette } = png;
  const channels = CHANNELS[color];
  const gain = color === 3 || depth >= 8 ? 1 : 255 / (2 ** depth - 1);
  const sample = (row, index) => {
    if (depth === 8) return pixels[row + index];
    if (depth === 16) return pixels[row + 2 * index]; // the high byte, as datasets/io.py takes it
    const bit = index * depth;
    return ((pixels[row + (bit >> 3)] >> (8 - depth - (bit & 7))) & (2 ** depth - 1)) * gain;
  };
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      const to = ((y0 + y * dy) * width + x0 + x * dx) * 3;
      const from = x * channels;
      for (let channel = 0; channel < 3; channel++) {
        const value = sample(y * rowBytes, channels > 2 ? from + channel : from);
        rgb[to + channel] = color === 3 ? palette[value * 3 + channel] : value;
      }
    }
  }
}

// Return H×W×3 uint8 pixels of a PNG file: alpha dropped, profile and gamma ignored, 16 bits by their high byte.
export async function decodePng(bytes) {
  const png = pngChunks(bytes);
  const channels = CHANNELS[png.color];
  if (!DEPTHS[png.color]?.includes(png.depth) || !png.data.length || (png.color === 3 && !png.palette))
    throw new Problem("This PNG file is broken: its header or its pixels are missing. Save it again.");
  let data;
  try {
    data = await through(await new Blob(png.data).arrayBuffer(), new DecompressionStream("deflate"));
  } catch {
    throw new Problem("This PNG file is broken or ends early: its pixels cannot be unpacked. Save it again.");
  }
  const rgb = new Uint8Array(png.width * png.height * 3);
  const bits = channels * png.depth;
  let at = 0;
  for (const pass of png.interlaced ? PASSES : [[0, 0, 1, 1]]) {
    const columns = Math.ceil((png.width - pass[0]) / pass[2]);
    const rows = Math.ceil((png.height - pass[1]) / pass[3]);
    if (columns <= 0 || rows <= 0) continue;
    const rowBytes = Math.ceil((columns * bits) / 8);
    if (at + rows * (rowBytes + 1) > data.length)
      throw new Problem("This PNG file ends early: some of its rows are missing. Save it again.");
    const pixels = unfilter(data, at, rows, rowBytes, Math.max(bits >> 3, 1));
    at += rows * (rowBytes + 1);
    place(png, pixels, rowBytes, columns, rows, rgb, pass);
  }
  return rgb;
}

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});

function chunk(type, body) {
  const bytes = new Uint8Array(12 + body.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, body.length);
  for (let i = 0; i < 4; i++) bytes[4 + i] = type.charCodeAt(i);
  bytes.set(body, 8);
  let crc = 0xffffffff;
  for (let i = 4; i < 8 + body.length; i++) crc = CRC[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  view.setUint32(8 + body.length, (crc ^ 0xffffffff) >>> 0);
  return bytes;
}

// Return a PNG file of H×W×channels uint8 pixels: 1 channel is gray, 4 are RGBA.
export async function encodePng(pixels, width, height, channels) {
  const row = width * channels;
  const raw = new Uint8Array(height * (row + 1));
  for (let y = 0; y < height; y++) raw.set(pixels.subarray(y * row, (y + 1) * row), y * (row + 1) + 1);
  const header = new Uint8Array(13);
  new DataView(header.buffer).setUint32(0, width);
  new DataView(header.buffer).setUint32(4, height);
  header.set([8, channels === 1 ? 0 : 6], 8);
  const data = await through(raw, new CompressionStream("deflate"));
  const signature = Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10);
  return new Blob([signature, chunk("IHDR", header), chunk("IDAT", data), chunk("IEND", new Uint8Array())],
    { type: "image/png" });
}
