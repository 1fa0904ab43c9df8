// From pixel coordinates of a GeoTIFF to longitude and latitude (WGS 84, to about a meter for other datums near it).

const RADIUS = 6378137;
const FLATTENING = 1 / 298.257223563;
const DEGREES = 180 / Math.PI;
const GEOGRAPHIC = [4326, 4258, 4269];

// Invert the transverse Mercator projection of UTM by Krüger's series (Karney 2011, third order).
function fromUtm(zone, south, easting, northing) {
  const n = FLATTENING / (2 - FLATTENING);
  const meridian = (RADIUS / (1 + n)) * (1 + n ** 2 / 4 + n ** 4 / 64);
  const beta = [n / 2 - (2 / 3) * n ** 2 + (37 / 96) * n ** 3, n ** 2 / 48 + n ** 3 / 15, (17 / 480) * n ** 3];
  const delta = [2 * n - (2 / 3) * n ** 2 - 2 * n ** 3, (7 / 3) * n ** 2 - (8 / 5) * n ** 3, (56 / 15) * n ** 3];
  const xi = (northing - (south ? 1e7 : 0)) / (0.9996 * meridian);
  const eta = (easting - 5e5) / (0.9996 * meridian);
  let x = xi;
  let y = eta;
  beta.forEach((b, i) => {
    const k = 2 * (i + 1);
    x -= b * Math.sin(k * xi) * Math.cosh(k * eta);
    y -= b * Math.cos(k * xi) * Math.sinh(k * eta);
  });
  const chi = Math.asin(Math.sin(x) / Math.cosh(y));
  const latitude = chi + delta.reduce((sum, d, i) => sum + d * Math.sin(2 * (i + 1) * chi), 0);
  return [zone * 6 - 183 + Math.atan2(Math.sinh(y), Math.cos(x)) * DEGREES, latitude * DEGREES];
}

function inverseOf(code) {
  if (GEOGRAPHIC.includes(code)) return (x, y) => [x, y];
  if (code === 3857)
    return (x, y) => [(x / RADIUS) * DEGREES, Math.atan(Math.sinh(y / RADIUS)) * DEGREES];
  const series = Math.floor(code / 100);
  const zone = code % 100;
  if ((series === 326 || series === 327) && zone >= 1 && zone <= 60)
    return (x, y) => fromUtm(zone, series === 327, x, y);
  if ((series === 258 && zone >= 28 && zone <= 38) || (series === 269 && zone >= 1 && zone <= 23))
    return (x, y) => fromUtm(zone, false, x, y);
  return null;
}

// Return sin of the authalic latitude times the ellipsoid's authalic scale: areas are longitude × its difference.
function authalic(latitude) {
  const e2 = FLATTENING * (2 - FLATTENING);
  const e = Math.sqrt(e2);
  const sine = Math.sin(latitude / DEGREES);
  return (1 - e2) * (sine / (1 - e2 * sine ** 2) + Math.atanh(e * sine) / e);
}

// Return a ring's area on the ellipsoid in square meters; negative where it runs clockwise.
export function areaOf(ring) {
  let area = 0;
  for (let i = 1; i < ring.length; i++) {
    const [[x0, y0], [x1, y1]] = [ring[i - 1], ring[i]];
    area -= ((x1 - x0) / DEGREES) * ((authalic(y0) + authalic(y1)) / 2 - authalic(ring[0][1]));
  }
  return (area * RADIUS ** 2) / 2;
}

// Return {code, toLonLat: (x, y) → [lon, lat] | null} of a geotiff.js image, or null where it has no georeference.
export function lonLatOf(image) {
  const keys = image.getGeoKeys();
  const directory = image.fileDirectory;
  const scale = directory.getValue("ModelPixelScale");
  const tie = directory.getValue("ModelTiepoint");
  const matrix = directory.getValue("ModelTransformation");
  if (!keys || !(matrix || (scale && tie))) return null;
  const code = keys.ProjectedCSTypeGeoKey ?? keys.ProjectedCRSGeoKey ?? keys.GeographicTypeGeoKey
    ?? keys.GeodeticCRSGeoKey;
  const half = keys.GTRasterTypeGeoKey === 2 ? 0.5 : 0; // coordinates of pixel centers
  const place = matrix
    ? (x, y) => [matrix[0] * x + matrix[1] * y + matrix[3], matrix[4] * x + matrix[5] * y + matrix[7]]
    : (x, y) => [tie[3] + (x - tie[0]) * scale[0], tie[4] - (y - tie[1]) * scale[1]];
  const inverse = inverseOf(code);
  return { code, toLonLat: inverse && ((x, y) => inverse(...place(x - half, y - half))) };
}
