// From a mask to polygons that follow pixel edges, with holes.

// Return {labels, count}: the 4-connected regions of a mask, numbered from 1.
function regions(mask, width) {
  const labels = new Int32Array(mask.length);
  const stack = [];
  let count = 0;
  const visit = (at) => {
    if (!mask[at] || labels[at]) return;
    labels[at] = count;
    stack.push(at);
  };
  for (let start = 0; start < mask.length; start++) {
    if (!mask[start] || labels[start]) continue;
    count++;
    visit(start);
    while (stack.length) {
      const at = stack.pop();
      const x = at % width;
      if (x > 0) visit(at - 1);
      if (x < width - 1) visit(at + 1);
      visit(at - width); // outside the array: undefined, so not part of the mask
      visit(at + width);
    }
  }
  return { labels, count };
}

const STEPS = [[1, 0], [0, 1], [-1, 0], [0, -1]];

// Return rings with the region on their right hand: outer rings clockwise on the screen, holes counterclockwise.
function ringsOf(labels, width, height) {
  const label = (x, y) => (x < 0 || y < 0 || x >= width || y >= height ? 0 : labels[y * width + x]);
  const ahead = (x, y, direction) => { // [pixel on the right, pixel on the left] of the edge that starts at (x, y)
    const right = [[x, y], [x - 1, y], [x - 1, y - 1], [x, y - 1]][direction];
    const left = [[x, y - 1], [x, y], [x - 1, y], [x - 1, y - 1]][direction];
    return [label(...right), label(...left)];
  };
  const seen = new Uint8Array(width * height); // the top edge of a pixel is part of a ring that was followed
  const found = [];
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const own = label(x, y);
      if (!own || label(x, y - 1) === own || seen[y * width + x]) continue;
      const points = [];
      let [px, py, direction] = [x, y, 0];
      let area = 0;
      let turned = true;
      do {
        if (turned) points.push([px, py]);
        if (direction === 0) seen[py * width + px] = 1;
        const [dx, dy] = STEPS[direction];
        area += px * (py + dy) - (px + dx) * py;
        px += dx;
        py += dy;
        // A left turn first: where a region touches itself at a corner it encloses a hole, and no ring crosses itself.
        const next = [3, 0, 1].map((turn) => (direction + turn) % 4)
          .find((way) => ahead(px, py, way)[0] === own && ahead(px, py, way)[1] !== own);
        turned = next !== direction;
        direction = next;
      } while (px !== x || py !== y || direction !== 0);
      points.push(points[0]);
      found.push({ label: own, points, area: area / 2 });
    }
  return found;
}

function signedArea(points) {
  let area = 0;
  for (let i = 1; i < points.length; i++)
    area += (points[i - 1][0] - points[0][0]) * (points[i][1] - points[0][1])
      - (points[i][0] - points[0][0]) * (points[i - 1][1] - points[0][1]);
  return area / 2;
}

// GeoJSON asks for counterclockwise outer rings and clockwise holes.
const wound = (points, hole) => (signedArea(points) < 0 === hole ? points : points.reverse());

const rounded = (value, digits) => Math.round(value * 10 ** digits) / 10 ** digits;

function measured(levels, labels, count) {
  const found = Array.from({ length: count + 1 }, () => ({ pixels: 0, sum: 0, max: 0 }));
  for (let i = 0; i < labels.length; i++) {
    if (!labels[i]) continue;
    const region = found[labels[i]];
    region.pixels++;
    region.sum += levels[i];
    if (levels[i] > region.max) region.max = levels[i];
  }
  return found;
}

// Return a GeoJSON FeatureCollection of a mask's regions of `smallest` pixels or more, largest first.
// geo: {toLonLat: pixel corner → [longitude, latitude], areaOf: ring → square meters}, or null for pixel coordinates.
export function polygonsOf(mask, levels, width, height, { smallest = 1, geo = null } = {}) {
  const { labels, count } = regions(mask, width);
  const measures = measured(levels, labels, count);
  const shapes = Array.from({ length: count + 1 }, () => ({ outer: null, holes: [] }));
  for (const { label, points, area } of ringsOf(labels, width, height)) {
    if (measures[label].pixels < smallest) continue;
    const placed = wound(geo ? points.map(([x, y]) => geo.toLonLat(x, y)) : points, area < 0);
    if (area > 0) shapes[label].outer = placed;
    else shapes[label].holes.push(placed);
  }
  const features = shapes.flatMap(({ outer, holes }, label) => {
    if (!outer) return [];
    const { pixels, sum, max } = measures[label];
    const [mean, most] = [sum / pixels / 255, max / 255];
    const properties = { pixels, mean_saliency: rounded(mean, 4), max_saliency: rounded(most, 4) };
    const rings = [outer, ...holes];
    if (geo) properties.area_m2 = rounded(rings.reduce((total, ring) => total + geo.areaOf(ring), 0), 2);
    return [{ type: "Feature", properties, geometry: { type: "Polygon", coordinates: rings } }];
  });
  features.sort((a, b) => b.properties.pixels - a.properties.pixels);
  return { type: "FeatureCollection", coordinates: geo ? "longitude, latitude" : "pixels, y down", features };
}
