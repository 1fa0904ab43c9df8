// A server of the site and a headless Chromium that collects console errors and foreign requests.

import { createServer } from "node:http";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { chromium } from "playwright-core";

export const SITE = fileURLToPath(new URL("../../site/", import.meta.url));
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css",
  ".wasm": "application/wasm", ".jpg": "image/jpeg" };
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const PATIENCE = 120000;

// Serve the site on a free port. `isolated` sends the headers that threads need; `sent` counts gzipped bytes by path.
export async function serve(isolated = false) {
  const sent = {};
  const zipped = {};
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://x").pathname).replace(/\/$/, "/index.html");
    const file = join(SITE, path);
    if (!existsSync(file) || !statSync(file).isFile()) return response.writeHead(404).end();
    zipped[path] ??= gzipSync(readFileSync(file), { level: path.includes("asyncify") ? 0 : 6 }); // WebGPU's: 27 MB
    sent[path] = (sent[path] ?? 0) + zipped[path].length;
    const headers = isolated
      ? { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" } : {};
    response.writeHead(200, { "Content-Type": TYPES[extname(path)] ?? "application/octet-stream",
      "Content-Encoding": "gzip", ...headers });
    return response.end(zipped[path]);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${server.address().port}/`, sent, close: () => server.close() };
}

export const launch = () =>
  chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: FLAGS });

// Open a page that collects what must not happen in `page.faults`.
export async function open(browser, url, { script, ...options } = {}) {
  const viewport = { width: 1280, height: 900 };
  const context = await browser.newContext({ acceptDownloads: true, viewport, ...options });
  context.setDefaultTimeout(PATIENCE);
  if (script) await context.addInitScript(script);
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

export const idle = (page) => page.waitForFunction(() => !document.body.hasAttribute("aria-busy"));

// Wait until the job that follows `act` has ended, and return the status line.
export async function after(page, act) {
  await page.evaluate(() => (document.getElementById("status").textContent = "…"));
  await act();
  await page.waitForFunction(() =>
    !document.body.hasAttribute("aria-busy") && !document.getElementById("status").textContent.endsWith("…"));
  return status(page);
}

export const ready = (page) =>
  page.waitForFunction(() => / is ready /.test(document.getElementById("status").textContent));

export const give = (page, file) => after(page, () => page.setInputFiles("#file", file));

// Press a save button and return {name, bytes}.
export async function saved(page, kind) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.click(`[data-save="${kind}"]`)]);
  const folder = mkdtempSync(join(tmpdir(), "page-"));
  await download.saveAs(join(folder, "file"));
  await idle(page);
  const bytes = readFileSync(join(folder, "file"));
  rmSync(folder, { recursive: true });
  return { name: download.suggestedFilename(), bytes };
}

// Return the resident memory of all of the browser's processes in MB.
export async function memory(browser) {
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  await session.detach();
  const kilobytes = processInfo.map(({ id }) => {
    const found = existsSync(`/proc/${id}/status`) && /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${id}/status`, "utf8"));
    return found ? Number(found[1]) : 0;
  });
  return kilobytes.reduce((sum, value) => sum + value, 0) / 1000;
}
