// What the stage shows: the image, the result over it, and the border between the two.

import { colorTable, extentOf, grayLevels, stretched } from "./maps.js";

const $ = (id) => document.getElementById(id);
const OVERLAY = 150; // alpha, of 255
const BIG_ENDIAN = new Uint8Array(Uint32Array.of(1).buffer)[0] === 0;
const packed = (red, green, blue, alpha) =>
  BIG_ENDIAN ? (red << 24) | (green << 16) | (blue << 8) | alpha : (alpha << 24) | (blue << 16) | (green << 8) | red;

let picture = null; // {width, height, rgb}
let shown = null; // {saliency, extent}
let levels = null; // of `shown`, stretched or not

const chosenLayer = () => document.querySelector('input[name="layer"]:checked').value;

// Show an image, or the empty stage.
export function showImage(view) {
  [picture, shown] = [view, null];
  $("stage").classList.toggle("empty", !view);
  $("file").tabIndex = view ? -1 : 0;
  if (!view) return;
  const { width, height, rgb } = view;
  const pixels = new Uint32Array(width * height);
  for (let i = 0, from = 0; i < pixels.length; i++, from += 3)
    pixels[i] = packed(rgb[from], rgb[from + 1], rgb[from + 2], 255);
  $("stage").style.setProperty("--aspect", width / height);
  for (const id of ["image", "layer"]) Object.assign($(id), { width, height });
  put("image", pixels);
  drawResult();
}

// Show the saliency of the image that is shown. extent: the whole map's least and greatest value.
export function showMap(saliency, extent = extentOf(saliency)) {
  shown = { saliency, extent };
  changeLevels();
}

export function changeLevels() {
  if (!shown) return;
  levels = grayLevels($("stretch").checked ? stretched(shown.saliency, shown.extent) : shown.saliency);
  drawResult();
}

function put(id, pixels) {
  const data = new Uint8ClampedArray(pixels.buffer);
  $(id).getContext("2d").putImageData(new ImageData(data, picture.width, picture.height), 0, 0);
}

// Return the packed color of each gray level.
function colorsOf(layer, threshold) {
  const table = colorTable($("colors").value);
  return Uint32Array.from({ length: 256 }, (_, level) => {
    if (layer === "mask") return level >= threshold ? packed(255, 255, 255, 255) : packed(0, 0, 0, 255);
    if (layer === "overlay" && level < threshold) return 0;
    return packed(table[level * 3], table[level * 3 + 1], table[level * 3 + 2], layer === "overlay" ? OVERLAY : 255);
  });
}

export function drawResult() {
  const threshold = Number($("threshold").value);
  $("threshold-value").value = threshold;
  const layer = chosenLayer();
  $("stage").classList.toggle("cutout", layer === "cutout" && Boolean(shown));
  $("layer").setAttribute("aria-label", `Result: ${layer}`);
  placeDivider();
  if (!picture) return;
  const pixels = new Uint32Array(picture.width * picture.height);
  if (shown && layer === "cutout") {
    const { rgb } = picture;
    for (let i = 0, from = 0; i < pixels.length; i++, from += 3)
      if (levels[i] >= threshold) pixels[i] = packed(rgb[from], rgb[from + 1], rgb[from + 2], levels[i]);
  } else if (shown) {
    const colors = colorsOf(layer, threshold);
    for (let i = 0; i < pixels.length; i++) pixels[i] = colors[levels[i]];
  }
  put("layer", pixels);
}

export function placeDivider() {
  const percent = Number($("compare").value);
  $("layer").style.clipPath = `inset(0 0 0 ${percent}%)`;
  $("divider").hidden = !shown;
  const [canvas, stage] = [$("layer").getBoundingClientRect(), $("stage").getBoundingClientRect()];
  const left = canvas.left - stage.left + (canvas.width * percent) / 100;
  Object.assign($("divider").style,
    { left: `${left}px`, top: `${canvas.top - stage.top}px`, height: `${canvas.height}px` });
}

function follow(event) {
  const { left, width } = $("layer").getBoundingClientRect();
  $("compare").value = (100 * (event.clientX - left)) / width;
  placeDivider();
}

// Let the border follow the slider and a pointer that is dragged over the image.
export function listenForDivider() {
  const stage = $("stage");
  $("compare").addEventListener("input", placeDivider);
  addEventListener("resize", placeDivider);
  stage.addEventListener("pointerdown", (event) => {
    if (!shown || event.button) return;
    stage.setPointerCapture(event.pointerId);
    follow(event);
  });
  stage.addEventListener("pointermove", (event) => stage.hasPointerCapture(event.pointerId) && follow(event));
}
