// `node measure.mjs FOLDER [parity]`: compute the maps of FOLDER/images/* into FOLDER/maps, and measure times and memory.
// Print one JSON object; web/measure.py makes tables of it.

import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { after, give, launch, memory, open, ready, saved, serve } from "./harness.mjs";

const folder = process.argv[2];
const OPENED = 5; // browsers opened for the time to the first map
const files = readdirSync(join(folder, "images")).sort().map((file) => join(folder, "images", file));
const server = await serve(true);
const found = { first: {}, warm: {}, memory: [] };
mkdirSync(join(folder, "maps"));

async function firstMap(threads) {
  const browser = await launch();
  const start = Date.now();
  const page = await open(browser, `${server.url}?threads=${threads}`);
  await ready(page);
  await after(page, () => page.click('[data-sample="island"]'));
  const milliseconds = Date.now() - start;
  await browser.close();
  return milliseconds;
}

async function warm(threads) {
  const browser = await launch();
  const page = await open(browser, `${server.url}?threads=${threads}`);
  await ready(page);
  const times = [];
  for (const file of files.slice(0, 22))
    times.push(Number(/in (\d+) ms \(WebAssembly, \d thread/.exec(await give(page, file))[1]));
  await browser.close();
  return times.slice(2);
}

async function maps() {
  const browser = await launch();
  const page = await open(browser, server.url);
  await ready(page);
  for (const [i, file] of files.entries()) {
    await give(page, file);
    writeFileSync(join(folder, "maps", `${basename(file)}.png`), (await saved(page, "map")).bytes);
    if ((i + 1) % 10 === 0) found.memory.push(await memory(browser));
  }
  await browser.close();
}

for (const threads of process.argv[3] === "parity" ? [] : [1, 2]) {
  found.first[threads] = [];
  for (let i = 0; i < OPENED; i++) found.first[threads].push(await firstMap(threads));
  found.warm[threads] = await warm(threads);
}
await maps();
console.log(JSON.stringify(found));
process.exit(0);
