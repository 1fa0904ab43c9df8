// Write the saliency map of one image on Node: npm ci --ignore-scripts, then
//   node saliency.mjs IMAGE MAP.png [NETWORK.onnx]

import { fileURLToPath } from "node:url";
import ort from "onnxruntime-node";
import sharp from "sharp";

const SHIPPED = fileURLToPath(new URL("../../weights/lite2_eorssd_int8.onnx", import.meta.url));
const SIDE = 224; // side of the input that the shipped networks were trained with

const [image, output, network = SHIPPED] = process.argv.slice(2);
if (!output) {
  console.error("usage: node saliency.mjs IMAGE MAP.png [NETWORK.onnx]");
  process.exit(2);
}

const { width, height } = await sharp(image).metadata();
const pixels = await sharp(image)
  .toColourspace("srgb")
  .removeAlpha()
  .resize(SIDE, SIDE, { fit: "fill", kernel: "linear" }) // antialiased bilinear
  .raw()
  .toBuffer();

const session = await ort.InferenceSession.create(network);
const { saliency } = await session.run({ image: new ort.Tensor("uint8", pixels, [1, SIDE, SIDE, 3]) });
const [, high, wide] = saliency.dims; // 1×2H×2W, float32 in [0, 1]

// The rule of the released code: a map of at most 0.25 shows no object; others are stretched to 0…255.
const low = saliency.data.reduce((least, value) => Math.min(least, value), 1);
const top = saliency.data.reduce((greatest, value) => Math.max(greatest, value), 0);
const stretch = (value) => (top <= 0.25 ? (value < 0.25 ? 0 : value) : top > low ? (value - low) / (top - low) : value);
const map = Uint8Array.from(saliency.data, (value) => stretch(value) * 255);

await sharp(map, { raw: { width: wide, height: high, channels: 1 } })
  .resize(width, height, { fit: "fill", kernel: "linear" })
  .toColourspace("b-w")
  .png()
  .toFile(output);
