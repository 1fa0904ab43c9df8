// From a mask to polygons that follow pixel edges, with holes.

// Return {labels, count}: the 4-connected regions of a mask, numbered from 1.
function regions(mask, width, height) {
  const labels = new Int32Array(width * height);
  const stack = [];
  let count = 0;
  for (let start = 0; start < mask.length; start++) {
    if (!mask[start] || labels[start]) continue;
    labels[start] = ++count;
    stack.push(start);
    while (stack.length) {
      const at = stack.pop();
      const x = at % width;
      for (const next of [x > 0 ? at - 1 : -1, x < width - 1 ? at + 1 : -1, at - width, at + width])
        if (next >= 0 && next < mask.length && mask[next] && !labels[next]) {
          labels[next] = count;
          stack.push(next);
        }
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
        // A right turn first keeps regions that touch at a corner apart.
        const next = [1, 0, 3].map((turn) => (direction + turn) % 4)
          .find((way) => ahead(px, py, way)[0] === own && ahead(px, py, way)[1] !== own);
        turned = next !== direction;
        direction = next;
      } while (px !== x || py !== y || direction !== 0);
      points.push(points[0]);
      found.push({ label: own, points, area: area / 2 });
    }
  return found;
}

// Return a GeoJSON FeatureCollection of a mask's regions, largest first. `place` maps pixel corners to coordinates.
export function polygonsOf(mask, levels, width, height, place) {
  const { labels, count } = regions(mask, width, height);
  const sums = new Float64Array(count + 1);
  const areas = new Float64Array(count + 1);
  for (let i = 0; i < labels.length; i++) {
    sums[labels[i]] += levels[i];
    areas[labels[i]]++;
  }
  const polygons = Array.from({ length: count + 1 }, () => ({ outer: null, holes: [] }));
  for (const ring of ringsOf(labels, width, height)) {
    // GeoJSON asks for counterclockwise outer rings with y upwards: in pixel coordinates y points down.
    const points = place ? ring.points.map(([x, y]) => place(x, y)).reverse() : ring.points;
    if (ring.area > 0) polygons[ring.label].outer = points;
    else polygons[ring.label].holes.push(points);
  }
  const features = polygons.map(({ outer, holes }, label) => ({
    type: "Feature",
    properties: { pixels: areas[label], mean_saliency: Math.round((sums[label] / areas[label] / 255) * 1e4) / 1e4 },
    geometry: outer && { type: "Polygon", coordinates: [outer, ...holes] },
  })).slice(1);
  features.sort((a, b) => b.properties.pixels - a.properties.pixels);
  return { type: "FeatureCollection", coordinates: place ? "longitude, latitude" : "pixels, y down", features };
}
