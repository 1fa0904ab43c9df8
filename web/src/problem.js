// An error whose message is a sentence for the person at the page.
export class Problem extends Error {}

const MOST_PIXELS = 40e6;

export function refuseHuge(width, height) {
  if (width * height > MOST_PIXELS)
    throw new Problem(`This image has ${width}×${height} pixels and the page takes up to `
      + `${MOST_PIXELS / 1e6} million. Crop it, or use getsmaps.py.`);
}
