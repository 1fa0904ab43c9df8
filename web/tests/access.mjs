// What a person without a mouse, without full sight or with a phone meets. Each function returns a list of faults.

// Return controls without an accessible name.
export const unnamed = (page) => page.evaluate(() =>
  [...document.querySelectorAll("button, input, select, progress, canvas, [role=group], form")].filter((element) => {
    const labels = [...(element.labels ?? [])].map((label) => label.textContent).join("");
    return !(element.getAttribute("aria-label") || labels || (element.matches("button") && element.textContent)).trim();
  }).map((element) => element.outerHTML.slice(0, 80)));

// Return visible texts whose contrast with what lies behind them is under 4.5 (WCAG 2.2, AA).
export const faint = (page) => page.evaluate(() => {
  const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const parse = (color) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = color;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const light = ([red, green, blue]) => [red, green, blue].map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, i) => sum + value * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const hidden = !element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
    const exempt = element.matches(":disabled, :disabled *, script, style");
    if (hidden || exempt || !walker.currentNode.textContent.trim()) continue;
    const [ink, behind] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
    const contrast = (Math.max(ink, behind) + 0.05) / (Math.min(ink, behind) + 0.05);
    if (contrast < 4.5) found.push(`${element.textContent.trim().slice(0, 30)}: ${contrast.toFixed(2)}`);
  }
  return found;
});

// Press Tab through the page. Return the controls that it reached, and those that show no focus.
export async function tabbed(page) {
  const [reached, unseen] = [[], []];
  await page.evaluate(() => document.activeElement.blur());
  for (let i = 0; i < 60; i++) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const element = document.activeElement;
      if (!element || element === document.body) return null;
      const near = [element, element.nextElementSibling, element.closest("label")].filter(Boolean);
      const name = element.id || element.dataset.sample || element.dataset.save || element.name || element.textContent;
      const shown = near.some((one) => {
        const { outlineStyle, opacity } = getComputedStyle(one);
        return outlineStyle === "solid" && opacity !== "0" && one.getBoundingClientRect().width > 8;
      });
      return { name, shown };
    });
    if (!at || reached.includes(at.name)) break;
    reached.push(at.name);
    if (!at.shown) unseen.push(at.name);
  }
  return { reached, unseen };
}

// Return the pixels by which the page is wider than a phone.
export async function overflow(page) {
  await page.setViewportSize({ width: 360, height: 740 });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  await page.setViewportSize({ width: 1280, height: 900 });
  return wide;
}
