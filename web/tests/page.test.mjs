// `node page.test.mjs FOLDER`: try the page with the files that tests/web/test_page.py wrote to FOLDER.
// Print one JSON object of what was seen; the Python test judges it.

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { faint, overflow, tabbed, unnamed } from "./access.mjs";
import { after, give, idle, launch, memory, open, ready, saved, serve, SITE, status } from "./harness.mjs";

const folder = process.argv[2];
const files = (name) => readdirSync(join(folder, name)).sort().map((file) => join(folder, name, file));
const seen = { odd: {}, faults: [], times: {} };
const server = await serve();
const browser = await launch();
mkdirSync(join(folder, "saved"));

const keep = async (page, kind, name = kind) =>
  writeFileSync(join(folder, "saved", name), (await saved(page, kind)).bytes);
const layerOf = (page) => page.locator("#layer").evaluate((layer) => layer.toDataURL());
const remarks = (page) => page.locator("#notices li").allTextContents().then((texts) => texts.join(" "));

async function parity(page) {
  for (const file of files("images")) {
    await give(page, file);
    await keep(page, "map", `${basename(file)}.png`);
  }
}

async function odd(page) {
  for (const file of files("odd")) seen.odd[basename(file)] = `${await give(page, file)} ${await remarks(page)}`;
}

async function tenImages(page) {
  const inRow = async (count) => {
    for (let i = 0; i < count; i++) await give(page, join(folder, "large", `${i % 2}.jpg`));
    return memory(browser);
  };
  seen.memory = [await inRow(3), await inRow(10)];
}

async function settings(page) {
  seen.sample = await after(page, () => page.click('[data-sample="island"]'));
  const layers = new Set();
  for (const layer of ["map", "mask", "cutout", "overlay"]) {
    await page.check(`input[value="${layer}"]`, { force: true });
    layers.add(await layerOf(page));
  }
  for (const colors of ["inferno", "gray"]) {
    await page.selectOption("#colors", colors);
    layers.add(await layerOf(page));
  }
  await page.fill("#threshold", "100");
  layers.add(await layerOf(page));
  await page.check('input[value="map"]', { force: true });
  const before = await layerOf(page);
  await page.uncheck("#stretch");
  layers.add(await layerOf(page));
  seen.stretchShows = before !== (await layerOf(page));
  seen.layers = layers.size;
  await page.selectOption("#size", "original");
  await page.fill("#smallest", "1");
  for (const kind of ["map", "mask", "cutout", "polygons"]) await keep(page, kind);
  const names = [];
  page.on("download", (download) => names.push(download.suggestedFilename()));
  await page.evaluate(() => document.querySelectorAll("[data-save]").forEach((button) => button.click()));
  for (let i = 0; i < 500 && names.length < 4; i++) await page.waitForTimeout(20);
  page.removeAllListeners("download");
  seen.quick = names;
  await page.check("#stretch");
}

async function divider(page) {
  const clip = () => page.locator("#layer").evaluate((layer) => layer.style.clipPath);
  await page.focus("#compare");
  await page.keyboard.press("Home");
  const start = await clip();
  await page.keyboard.press("End");
  const end = await clip();
  const box = await page.locator("#layer").boundingBox();
  await page.mouse.move(box.x + 10, box.y + 50);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width / 2, box.y + 50);
  await page.mouse.up();
  seen.clips = [start, end, await clip()].map((text) => Math.round(parseFloat(/([\d.]+)%/.exec(text)?.[1] ?? "0")));
}

async function tiles(page) {
  await give(page, join(folder, "tiled.png"));
  seen.tiles = await after(page, () => page.selectOption("#tiles", "320,640"));
  await page.uncheck("#stretch");
  await keep(page, "map", "tiled");
  await page.check("#stretch");
  await page.selectOption("#tiles", "224");
  await page.waitForFunction(() => document.getElementById("progress").value > 0.1);
  seen.progress = await page.locator("#count").textContent();
  await page.click("#cancel");
  await idle(page);
  seen.cancelled = [await status(page), await page.inputValue("#tiles"), await page.isEnabled("#saving")];
  await page.selectOption("#tiles", "224");
  await page.waitForFunction(() => document.getElementById("progress").value > 0.1);
  seen.changed = [await after(page, () => page.selectOption("#tiles", "448")), await page.inputValue("#tiles")];
  await page.selectOption("#tiles", "224");
  await page.waitForFunction(() => document.getElementById("progress").value > 0.1);
  seen.overtaken = await after(page, () => page.setInputFiles("#file", join(folder, "large", "0.jpg")));
  seen.offer = await page.locator("#offer").textContent();
  await page.click("#accept");
  await page.waitForFunction(() => document.getElementById("progress").value > 0);
  seen.accepted = await page.inputValue("#tiles");
  await page.keyboard.press("Tab");
  await after(page, () => page.click("#cancel"));
}

async function geotiff(page) {
  seen.geo = await give(page, join(folder, "deep.tif"));
  seen.range = await remarks(page);
  for (const [i, band] of ["3", "2", "1"].entries()) await page.fill(`#band-${i}`, band);
  await page.fill("#range-0", "200");
  await page.fill("#range-1", "3000");
  seen.automatic = await page.isChecked("#automatic");
  seen.chosen = await after(page, () => page.click("#read"));
  await page.selectOption("#size", "network");
  await keep(page, "map", "deep");
  await keep(page, "polygons", "geo");
  await page.fill("#band-0", "9");
  seen.wrongBand = await after(page, () => page.click("#read"));
  await page.fill("#band-0", "4");
  seen.mended = await after(page, () => page.click("#read"));
}

// Hand over a file as drop and paste do: browsers let no script do it otherwise.
const handOver = (page, type, path) => page.evaluate(([type, base64]) => {
  const data = new DataTransfer();
  if (base64) data.items.add(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], "given.jpg"));
  else data.items.add("text", "text/plain");
  const options = { bubbles: true, cancelable: true, dataTransfer: data, clipboardData: data };
  document.getElementById("stage").dispatchEvent(
    type === "drop" ? new DragEvent("drop", options) : new ClipboardEvent("paste", options));
}, [type, path && readFileSync(path).toString("base64")]);

async function dropAndPaste(page) {
  const [file] = files("images").filter((name) => name.endsWith("small.jpg"));
  for (const type of ["drop", "paste"]) {
    seen[type] = await after(page, () => handOver(page, type, file));
    seen[`${type}Text`] = await after(page, () => handOver(page, type, null));
  }
}

async function access(page) {
  seen.unnamed = await unnamed(page);
  seen.overflow = await overflow(page);
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    seen[colorScheme] = await faint(page);
  }
  seen.motion = await page.locator("#choose").evaluate((button) => getComputedStyle(button).transitionDuration);
  seen.tab = await tabbed(page);
  await page.focus('[data-sample="river"]');
  seen.enter = await after(page, () => page.keyboard.press("Enter"));
  await page.focus('input[name="layer"]:checked');
  await page.keyboard.press("ArrowRight");
  seen.arrow = await page.locator("#layer").getAttribute("aria-label");
}

// The second load is answered by the service worker: with threads, and without the server.
async function offline(page) {
  await page.waitForFunction(async (count) => {
    const names = await caches.keys();
    return names.length === 1 && (await (await caches.open(names[0])).keys()).length >= count;
  }, 13);
  seen.sent = { ...server.sent };
  await page.context().setOffline(true);
  await page.reload();
  await ready(page);
  seen.offline = [await status(page), await after(page, () => page.click('[data-sample="tanks"]'))];
  seen.isolated = await page.evaluate(() => crossOriginIsolated);
  await page.context().setOffline(false);
}

async function single() {
  const page = await open(browser, `file://${SITE}single.html`);
  await ready(page);
  seen.single = await after(page, () => page.click('[data-sample="tanks"]'));
  await page.selectOption("#size", "original");
  seen.singleSaved = (await saved(page, "cutout")).bytes.length;
  seen.faults.push(...page.faults);
  await page.context().close();
}

// The page is told of a WebGPU adapter, which the worker then does not find.
const withAdapter = () =>
  Object.defineProperty(navigator, "gpu", { value: { requestAdapter: () => Promise.resolve({}) } });

async function fallback(page) {
  await after(page, () => page.click('[data-sample="tanks"]'));
  const line = await after(page, () => page.selectOption("#provider", "webgpu"));
  seen.fallback = [line, await remarks(page), await page.inputValue("#provider")];
}

async function timed(step, ...options) {
  const start = Date.now();
  await step(...options);
  seen.times[step.name] = Date.now() - start;
}

try {
  const page = await open(browser, server.url, { script: withAdapter });
  await ready(page);
  const steps = [access, parity, odd, settings, divider, tiles, geotiff, dropAndPaste, tenImages, offline, fallback];
  for (const step of steps) await timed(step, page);
  seen.faults.push(...page.faults);
  await page.context().close();
  await timed(single);
} catch (error) {
  seen.stopped = error.stack;
} finally {
  await browser.close();
  server.close();
}
console.log(JSON.stringify(seen));
process.exit(0);
