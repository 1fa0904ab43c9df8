// Large images in overlapping tiles of one or several sizes, blended by Hann weights: only blending leaves no seams.

// Round half to even, as numpy does.
function rounded(value) {
  const up = Math.round(value);
  return up - value === 0.5 && up % 2 ? up - 1 : up;
}

// Return the first pixel of each tile: evenly spaced, half a tile apart at most, as inference/scenes places them.
export function tileStarts(length, tile) {
  const last = Math.max(length - tile, 0);
  const steps = Math.ceil(last / (tile / 2));
  return Array.from({ length: steps + 1 }, (_, i) => (steps ? rounded((last * i) / steps) : 0));
}

// Return the number of tiles of all sizes.
export function countTiles(width, height, sizes) {
  return sizes.reduce((sum, size) => sum + tileStarts(width, size).length * tileStarts(height, size).length, 0);
}

function hann(length) {
  return Float32Array.from({ length }, (_, i) => Math.sin((Math.PI * (i + 0.5)) / length) ** 2);
}

// Add the blended saliency of one tile size to `total`, times `share`. Only a band of rows is held besides.
async function addBlended(total, width, height, tile, share, predict) {
  const [columns, rows] = [tileStarts(width, tile), tileStarts(height, tile)];
  const [w, h] = [Math.min(tile, width), Math.min(tile, height)];
  const [across, down] = [hann(w), hann(h)];
  const sums = new Float32Array(width * h);
  const weights = new Float32Array(width * h);
  for (const [index, y] of rows.entries()) {
    for (const x of columns) {
      const map = await predict(x, y, w, h);
      for (let i = 0; i < h; i++)
        for (let j = 0, to = i * width + x; j < w; j++, to++) {
          const weight = down[i] * across[j];
          sums[to] += weight * map[i * w + j];
          weights[to] += weight;
        }
    }
    const finished = ((rows[index + 1] ?? height) - y) * width;
    for (let i = 0, to = y * width; i < finished; i++, to++) total[to] += (share * sums[i]) / weights[i];
    for (const band of [sums, weights]) {
      band.copyWithin(0, finished);
      band.fill(0, band.length - finished);
    }
  }
}

// Return H×W saliency, the mean over the tile sizes. `predict(x, y, w, h)` gives a tile's saliency as h×w float32.
export async function tiledSaliency(width, height, sizes, predict) {
  const total = new Float32Array(width * height);
  for (const size of sizes) await addBlended(total, width, height, size, 1 / sizes.length, predict);
  return total;
}
