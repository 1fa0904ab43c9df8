// A server of the site and a headless Chromium that collects console errors and foreign requests.

import { createServer } from "node:http";
import { existsSync, mkdtempSync, readFileSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { chromium } from "playwright-core";

export const SITE = fileURLToPath(new URL("../../site/", import.meta.url));
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css",
  ".wasm": "application/wasm", ".jpg": "image/jpeg" };
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--js-flags=--expose-gc", "--enable-precise-memory-info"];

// Serve the site on a free port. `isolated` sends the headers that threads need; `state.bytes` counts gzipped bytes.
export async function serve(isolated = false) {
  const state = { bytes: 0 };
  const server = createServer((request, response) => {
    const path = join(SITE, decodeURIComponent(new URL(request.url, "http://x").pathname).replace(/\/$/, "/index.html"));
    if (!existsSync(path) || !statSync(path).isFile()) return response.writeHead(404).end();
    const body = gzipSync(readFileSync(path), { level: 6 });
    state.bytes += body.length;
    const headers = isolated
      ? { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" } : {};
    response.writeHead(200, { "Content-Type": TYPES[extname(path)] ?? "application/octet-stream",
      "Content-Encoding": "gzip", ...headers });
    return response.end(body);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${server.address().port}/`, state, close: () => server.close() };
}

export const launch = () => chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: FLAGS });

// Open a page that collects what must not happen in `page.faults`.
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ acceptDownloads: true, viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.faults = [];
  page.on("console", (message) => message.type() === "error" && page.faults.push(`console: ${message.text()}`));
  page.on("pageerror", (error) => page.faults.push(`error: ${error.message}`));
  const origin = url.startsWith("file:") ? "file:" : new URL(url).origin;
  context.on("request", (request) => {
    if (!/^(blob|data):/.test(request.url()) && !request.url().startsWith(origin))
      page.faults.push(`foreign request: ${request.url()}`);
  });
  await page.goto(url);
  return page;
}

export const status = (page) => page.locator("#status").textContent();

// Wait until the job that follows `act` has ended, and return the status line.
export async function after(page, act, timeout = 60000) {
  await page.evaluate(() => (document.getElementById("status").textContent = "…"));
  await act();
  await page.waitForFunction(() => {
    const line = document.getElementById("status");
    return !document.body.hasAttribute("aria-busy") && !/…$|^Tile /.test(line.textContent);
  }, null, { timeout });
  return status(page);
}

export const ready = (page) => page.waitForFunction(() => /is ready/.test(document.getElementById("status").textContent),
  null, { timeout: 60000 });

export const give = (page, file, timeout) => after(page, () => page.setInputFiles("#file", file), timeout);

// Press a save button and return {name, bytes}.
export async function saved(page, kind) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.click(`[data-save="${kind}"]`)]);
  const path = join(mkdtempSync(join(tmpdir(), "page-")), "file");
  await download.saveAs(path);
  await page.waitForFunction(() => !document.body.hasAttribute("aria-busy"));
  return { name: download.suggestedFilename(), bytes: readFileSync(path) };
}
