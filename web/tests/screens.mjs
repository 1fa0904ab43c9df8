// `node web/tests/screens.mjs FOLDER`: write a picture of each state of the page, wide and narrow, light and dark.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, launch, open, ready, serve } from "./harness.mjs";

const folder = process.argv[2];
mkdirSync(folder, { recursive: true });
const server = await serve(true);
const browser = await launch();
const SIZES = { wide: { width: 1280, height: 900 }, phone: { width: 390, height: 844 } };

async function states(page, name) {
  const shot = (state) => page.screenshot({ path: join(folder, `${name}-${state}.png`), fullPage: true });
  await ready(page);
  await shot("start");
  await after(page, () => page.click('[data-sample="aircraft"]'));
  await shot("result");
  await page.check('input[value="cutout"]', { force: true });
  await shot("cutout");
  await page.check('input[value="overlay"]', { force: true });
  await page.selectOption("#tiles", "224");
  await page.waitForFunction(() => document.getElementById("progress").value > 0.2);
  await shot("tiles");
  await page.click("#cancel");
  await page.waitForFunction(() => !document.body.hasAttribute("aria-busy"));
  const broken = join(folder, "broken.png");
  writeFileSync(broken, "no image");
  await after(page, () => page.setInputFiles("#file", broken));
  await shot("error");
}

for (const [size, viewport] of Object.entries(SIZES))
  for (const colorScheme of ["light", "dark"]) {
    const page = await open(browser, server.url, { viewport, colorScheme });
    await states(page, `${size}-${colorScheme}`);
    await page.context().close();
  }
await browser.close();
server.close();
