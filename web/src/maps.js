// From saliency to gray levels, by the release's rule or raw: the same arithmetic as inference/maps.py.

const THRESHOLD = 0.25;

// Return [least, greatest].
export function extentOf(saliency) {
  let least = Infinity;
  let greatest = -Infinity;
  for (const value of saliency) {
    if (value < least) least = value;
    if (value > greatest) greatest = value;
  }
  return [least, greatest];
}

// Return saliency stretched by the release's rule. If the maximum is at most 0.25, values under 0.25 become 0.
export function stretched(saliency, [least, greatest] = extentOf(saliency)) {
  if (greatest <= THRESHOLD) return saliency.map((value) => (value < THRESHOLD ? 0 : value));
  if (least === greatest) return saliency.slice();
  const range = Math.fround(greatest - least);
  return saliency.map((value) => Math.fround(value - least) / range);
}

// Return gray levels 0–255: × 255, cut off, not rounded.
export function grayLevels(saliency) {
  const levels = new Uint8Array(saliency.length);
  for (let i = 0; i < levels.length; i++)
    levels[i] = Math.trunc(Math.fround(Math.min(Math.max(saliency[i], 0), 1) * 255));
  return levels;
}

// Color stops of matplotlib's maps, evenly spaced.
const STOPS = {
  gray: [[0, 0, 0], [255, 255, 255]],
  viridis: [[68, 1, 84], [72, 40, 120], [62, 73, 137], [49, 104, 142], [38, 130, 142], [31, 158, 137], [53, 183, 121],
    [109, 205, 89], [180, 222, 44], [253, 231, 37]],
  inferno: [[0, 0, 4], [27, 12, 65], [74, 12, 107], [120, 28, 109], [165, 44, 96], [207, 68, 70], [237, 105, 37],
    [251, 155, 6], [247, 209, 61], [252, 255, 164]],
};

// Return 256×3 colors of a color map.
export function colorTable(name) {
  const stops = STOPS[name];
  const table = new Uint8ClampedArray(256 * 3);
  for (let level = 0; level < 256; level++) {
    const place = (level / 255) * (stops.length - 1);
    const index = Math.min(Math.floor(place), stops.length - 2);
    const [left, right] = [stops[index], stops[index + 1]];
    for (let channel = 0; channel < 3; channel++)
      table[level * 3 + channel] = left[channel] + (place - index) * (right[channel] - left[channel]);
  }
  return table;
}
