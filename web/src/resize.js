// Antialiased bilinear resizing as Pillow and torch compute it: horizontal pass first, then vertical.

// Return, for each output position, the first input position, and `width` weights that sum to one.
function coefficients(inSize, outSize) {
  const scale = inSize / outSize;
  const support = Math.max(scale, 1);
  const width = Math.ceil(support) * 2 + 1;
  const starts = new Int32Array(outSize);
  const counts = new Int32Array(outSize);
  const weights = new Float64Array(outSize * width);
  for (let i = 0; i < outSize; i++) {
    const center = scale * (i + 0.5);
    const start = Math.max(Math.trunc(center - support + 0.5), 0);
    const count = Math.min(Math.min(Math.trunc(center + support + 0.5), inSize) - start, width);
    let total = 0;
    for (let j = 0; j < count; j++) {
      const weight = Math.max(0, 1 - Math.abs((j + start - center + 0.5) / support));
      weights[i * width + j] = weight;
      total += weight;
    }
    for (let j = 0; j < count; j++) weights[i * width + j] /= total;
    starts[i] = start;
    counts[i] = count;
  }
  return { starts, counts, weights, width };
}

// torch resizes uint8 with 16-bit integer weights of as many binary digits as the greatest weight allows.
function integerWeights(weights) {
  let greatest = 0;
  for (const weight of weights) greatest = Math.max(greatest, weight);
  let precision = 0;
  while (precision < 22 && Math.trunc(0.5 + greatest * 2 ** (precision + 1)) < 2 ** 15) precision++;
  return { precision, weights: Int32Array.from(weights, (weight) => Math.trunc(0.5 + weight * 2 ** precision)) };
}

function pass(source, target, lines, lineStride, outLineStride, step, table, convert) {
  const { starts, counts, width } = table;
  const { weights, add } = convert;
  for (let line = 0; line < lines; line++) {
    for (let i = 0; i < starts.length; i++) {
      let sum = add;
      let from = line * lineStride + starts[i] * step;
      for (let j = 0, k = i * width; j < counts[i]; j++, k++, from += step) sum += source[from] * weights[k];
      target[line * outLineStride + i * step] = convert.precision === undefined ? sum : sum >> convert.precision;
    }
  }
}

function resize(source, Type, width, height, channels, outWidth, outHeight) {
  const exact = Type === Float32Array;
  const convertible = (table) => {
    if (exact) return { weights: table.weights, add: 0 };
    const integers = integerWeights(table.weights);
    return { ...integers, add: 1 << (integers.precision - 1) };
  };
  let pixels = source;
  if (outWidth !== width) {
    const table = coefficients(width, outWidth);
    const convert = convertible(table);
    const target = new Type(height * outWidth * channels);
    for (let channel = 0; channel < channels; channel++)
      pass(pixels.subarray(channel), target.subarray(channel), height, width * channels, outWidth * channels, channels,
        table, convert);
    pixels = target;
  }
  if (outHeight !== height) {
    const table = coefficients(height, outHeight);
    const row = outWidth * channels;
    const target = new Type(outHeight * row);
    pass(pixels, target, row, 1, 1, row, table, convertible(table));
    pixels = target;
  }
  return pixels;
}

// Resize H×W×3 uint8 pixels to outHeight×outWidth×3, with torch's integer arithmetic.
export function resizeRgb(pixels, width, height, outWidth, outHeight) {
  return resize(pixels, Uint8ClampedArray, width, height, 3, outWidth, outHeight);
}

// Resize an H×W float32 map as Pillow does (mode "F").
export function resizeMap(map, width, height, outWidth, outHeight) {
  return resize(map, Float32Array, width, height, 1, outWidth, outHeight);
}
