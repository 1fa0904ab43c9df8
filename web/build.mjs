// Build the page: `node build.mjs MODEL SITE` writes SITE/index.html with its files, and SITE/single.html.

import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { whyNotReplace } from "./folder.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const [model, target] = process.argv.slice(2);
const site = `${target}.part`; // it takes its name when it is complete
const runtime = join(here, "node_modules/onnxruntime-web/dist");
const WASM = "ort-wasm-simd-threaded.wasm";
const COLORS = { viridis: "Viridis", inferno: "Inferno", gray: "Gray" };
const SAMPLES = { island: "Island", aircraft: "Aircraft", stadium: "Stadium", tanks: "Tanks", river: "River" };
const FOOTER = "The network and the page are one folder of files. No image leaves this computer.";
const source = (name) => readFileSync(join(here, "src", name), "utf8");

async function bundle(entry, options = {}) {
  const { outputFiles } = await build({ entryPoints: [join(here, "src", entry)], bundle: true, minify: true, write: false,
    target: "es2022", legalComments: "none", logLevel: "warning", external: ["node:*", "fs", "module", "worker_threads"],
    define: { "process.versions": "undefined" }, ...options });
  return outputFiles[0].text;
}

const worker = (ort, options) => bundle("worker.js", { alias: { ort: join(runtime, ort) }, ...options });
const base64 = (data) => Buffer.from(data).toString("base64");
const packed = (data) => base64(gzipSync(data, { level: 9 }));

function page({ csp, style, script, sampleUrl, footer }) {
  const samples = Object.entries(SAMPLES).map(([name, title]) =>
    `<button type="button" data-sample="${name}"><img src="${sampleUrl(name)}" alt="" width="96" height="96">`
    + `<span>${title}</span></button>`).join("\n      ");
  const colors = Object.entries(COLORS).map(([name, title]) => `<option value="${name}">${title}</option>`).join("");
  const parts = { csp, style, script, samples, colors, footer };
  return source("index.html").replace(/{{(\w+)}}/g, (_, part) => parts[part]);
}

async function writeSite() {
  mkdirSync(join(site, "samples"), { recursive: true });
  const files = {
    "index.html": page({
      csp: "default-src 'self'; connect-src 'self' data:; img-src 'self' data: blob:; script-src 'self' blob: 'wasm-unsafe-eval'; worker-src 'self' blob:; "
        + "object-src 'none'; base-uri 'none'; form-action 'none'",
      style: '<link rel="stylesheet" href="style.css">',
      script: '<script type="module" src="app.js"></script>',
      sampleUrl: (name) => `samples/${name}.jpg`,
      footer: `${FOOTER} After the first visit it works without a connection; `
        + '<a href="single.html" download="salient-objects.html">the page in one file</a> opens from a disk.',
    }),
    "style.css": source("style.css"),
    "app.js": await bundle("app.js", { format: "esm" }),
    "worker-wasm.js": await worker("ort.wasm.min.mjs", { format: "esm" }),
    "worker-webgpu.js": await worker("ort.webgpu.min.mjs", { format: "esm" }),
    "model.onnx": readFileSync(model),
  };
  for (const name of Object.keys(SAMPLES)) files[`samples/${name}.jpg`] = readFileSync(join(here, "samples", `${name}.jpg`));
  for (const name of [WASM, WASM.replace(".wasm", ".mjs")]) files[name] = readFileSync(join(runtime, name));
  for (const [name, data] of Object.entries(files)) writeFileSync(join(site, name), data);
  // The WebGPU runtime is fetched where somebody chooses it, and not kept for offline use.
  for (const name of readdirSync(runtime).filter((name) => /asyncify\.(mjs|wasm)$/.test(name)))
    cpSync(join(runtime, name), join(site, name));
  const hash = createHash("sha256");
  for (const data of Object.values(files)) hash.update(data);
  const kept = ["./", ...Object.keys(files).filter((name) => name !== "worker-webgpu.js")];
  const parts = { version: hash.digest("hex").slice(0, 12), files: JSON.stringify(kept) };
  writeFileSync(join(site, "sw.js"), source("sw.js").replace(/{{(\w+)}}/g, (_, part) => parts[part]));
  printSizes(files, kept.slice(1));
}

// Print what a first visit transfers, gzipped.
function printSizes(files, names) {
  const sizes = names.map((name) => [name, files[name].length, gzipSync(files[name], { level: 9 }).length]);
  sizes.push(["total", ...[1, 2].map((column) => sizes.reduce((sum, size) => sum + size[column], 0))]);
  for (const [name, size, zipped] of sizes)
    console.log(`${name.padEnd(32)} ${(size / 1e6).toFixed(3).padStart(8)} MB ${(zipped / 1e6).toFixed(3).padStart(8)} MB gzipped`);
}

async function writeSingle() {
  const code = await worker("ort.wasm.bundle.min.mjs", { format: "iife", define: { "import.meta.url": "self.location.href" } });
  const parts = { worker: packed(code), wasm: packed(readFileSync(join(runtime, WASM))), model: packed(readFileSync(model)) };
  const app = await bundle("app.js", { format: "iife" });
  const html = page({
    csp: "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline' blob: 'wasm-unsafe-eval'; "
      + "worker-src blob:; connect-src blob: data:",
    style: `<style>${source("style.css")}</style>`,
    script: `<script>globalThis.EMBEDDED=${JSON.stringify(parts)}</script>\n<script>${app.replaceAll("</script", "<\\/script")}</script>`,
    sampleUrl: (name) => `data:image/jpeg;base64,${base64(readFileSync(join(here, "samples", `${name}.jpg`)))}`,
    footer: "The network and the page are this one file. No image leaves this computer, and no connection is needed.",
  });
  writeFileSync(join(site, "single.html"), html);
  console.log(`single.html: ${(html.length / 1e6).toFixed(1)} MB`);
}

function stop(message) {
  console.error(`error: ${message}`);
  process.exit(1);
}

if (!statSync(model, { throwIfNoEntry: false })?.isFile()) stop(`${model} is no file: name a network that inference.export wrote`);
for (const folder of [target, site]) {
  const why = whyNotReplace(folder);
  if (why) stop(`${why}: move it away, or remove it`);
}
rmSync(site, { recursive: true, force: true });
await writeSite();
await writeSingle();
rmSync(target, { recursive: true, force: true });
renameSync(site, target);
