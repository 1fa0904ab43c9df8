// `node page.test.mjs FOLDER`: try the page with the files that tests/web/test_page.py wrote to FOLDER.
// Print one JSON object of what was seen; the Python test judges it.

import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, give, launch, open, ready, saved, serve, SITE, status } from "./harness.mjs";

const folder = process.argv[2];
const files = (name) => readdirSync(join(folder, name)).sort().map((file) => join(folder, name, file));
const seen = { odd: {}, faults: [] };
const server = await serve();
const browser = await launch();

async function maps(page) {
  mkdirSync(join(folder, "maps"));
  for (const file of files("images")) {
    await give(page, file);
    const { name, bytes } = await saved(page, "map");
    writeFileSync(join(folder, "maps", name), bytes);
  }
}

async function oddFiles(page) {
  for (const file of files("odd")) {
    const line = await give(page, file);
    seen.odd[file.split("/").pop()] = [line, ...(await page.locator("#notices li").allTextContents())].join(" ");
  }
}

async function controls(page) {
  seen.sample = await after(page, () => page.click('[data-sample="island"]'));
  for (const layer of ["map", "mask", "cutout", "overlay"]) await page.check(`input[value="${layer}"]`, { force: true });
  await page.selectOption("#colors", "inferno");
  await page.fill("#threshold", "100");
  await page.uncheck("#stretch");
  await page.focus("#compare");
  await page.keyboard.press("Home");
  seen.clip = await page.locator("#layer").evaluate((layer) => layer.style.clipPath);
  await page.selectOption("#size", "original");
  for (const kind of ["mask", "cutout", "polygons"]) {
    const { bytes } = await saved(page, kind);
    writeFileSync(join(folder, kind), bytes);
  }
  seen.tiles = await after(page, () => page.selectOption("#tile", "224"));
  await page.selectOption("#tile", "0");
  await page.waitForFunction(() => !document.body.hasAttribute("aria-busy"));
  await page.selectOption("#tile", "224");
  await page.click("#cancel");
  await page.waitForFunction(() => !document.body.hasAttribute("aria-busy"));
  seen.cancelled = await status(page);
}

async function geotiff(page) {
  seen.geo = await give(page, join(folder, "utm.tif"));
  const { bytes } = await saved(page, "polygons");
  writeFileSync(join(folder, "geo"), bytes);
}

async function phone(page) {
  await page.setViewportSize({ width: 360, height: 740 });
  seen.overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
}

async function offline(page) {
  await page.waitForFunction(() => navigator.serviceWorker.ready.then(() => true));
  server.close();
  await page.context().setOffline(true);
  await page.reload();
  await ready(page);
  seen.offline = await status(page);
}

async function single() {
  const page = await open(browser, `file://${SITE}single.html`);
  await ready(page);
  seen.single = await after(page, () => page.click('[data-sample="tanks"]'));
  seen.faults.push(...page.faults);
  await page.close();
}

try {
  const page = await open(browser, server.url);
  await ready(page);
  await maps(page);
  await oddFiles(page);
  await controls(page);
  await geotiff(page);
  await phone(page);
  await single();
  await offline(page);
  seen.faults.push(...page.faults);
} catch (error) {
  seen.stopped = error.message;
} finally {
  await browser.close();
  server.close();
}
console.log(JSON.stringify(seen));
process.exit(0);
