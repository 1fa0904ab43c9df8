// Large images in overlapping tiles, blended by Hann weights: only blending leaves no seams.

// Return the first pixel of each tile: half a tile apart, the last one flush with the end.
export function tileStarts(length, tile) {
  if (length <= tile) return [0];
  const starts = [];
  for (let at = 0; at + tile < length; at += tile / 2) starts.push(at);
  return [...starts, length - tile];
}

function hann(length) {
  return Float32Array.from({ length }, (_, i) => Math.sin((Math.PI * (i + 0.5)) / length) ** 2);
}

// Return H×W saliency of an image. `predict(x, y, w, h)` gives the saliency of a tile as h×w float32.
export async function tiledSaliency(width, height, tile, predict, progress) {
  const [columns, rows] = [tileStarts(width, tile), tileStarts(height, tile)];
  const [w, h] = [Math.min(tile, width), Math.min(tile, height)];
  const [across, down] = [hann(w), hann(h)];
  const saliency = new Float32Array(width * height);
  const weight = new Float32Array(width * h); // of the rows that the current row of tiles covers
  let done = 0;
  for (const [index, y] of rows.entries()) {
    const shift = index ? y - rows[index - 1] : 0;
    weight.copyWithin(0, shift * width);
    weight.fill(0, (h - shift) * width);
    for (const x of columns) {
      const map = await predict(x, y, w, h);
      for (let i = 0; i < h; i++)
        for (let j = 0; j < w; j++) {
          const share = down[i] * across[j];
          saliency[(y + i) * width + x + j] += share * map[i * w + j];
          weight[i * width + x + j] += share;
        }
      await progress(++done, rows.length * columns.length);
    }
    const end = index + 1 < rows.length ? rows[index + 1] : height;
    for (let i = y * width; i < end * width; i++) saliency[i] /= weight[i - y * width];
  }
  return saliency;
}
