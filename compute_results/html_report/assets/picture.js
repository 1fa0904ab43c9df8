// One image: its figures, all its maps, their errors, and a slider between two of them.
"use strict";

Report.picture = (function () {
  const { data, element, choice, nameInAddress, imageCalled, number, go, address, order, overlay } = Report;
  const view = document.getElementById("view-image");
  const SHOWN = [{ value: "maps", text: "maps" }, { value: "over", text: "maps over the image" }, { value: "errors", text: "errors" }];
  let present = null; // the image that is drawn, and what can be repainted
  let share = 50;

  const isThere = (which, image) => typeof which !== "number" || !data.missing[which].has(image);
  const nameOf = (which) => (typeof which === "number" ? data.methods[which] : which);

  // Sides of the slider by their values in the address: "image", "mask", or "m" and a method's name.
  function sideOf(value, image, fallback) {
    const which = value.startsWith("m:") ? order.methodIndex(value.slice(2)) : value;
    return value && which !== -1 && isThere(which, image) ? which : fallback;
  }
  const valueOf = (which) => (typeof which === "number" ? `m:${data.methods[which]}` : which);

  function sides(state, image) {
    const there = data.methods.map((_, index) => index).filter((index) => isThere(index, image));
    const chosen = order.methodIndex(state.method);
    const right = there.includes(chosen) ? chosen : there[there.length - 1] ?? "mask";
    const other = order.methodIndex(state.minus);
    const left = there.includes(other) && other !== right ? other : there.find((index) => index !== right) ?? (right === "mask" ? "image" : "mask");
    return { left: sideOf(state.left, image, left), right: sideOf(state.right, image, right), there };
  }

  function slider(state, image, both) {
    const options = ["image", "mask", ...both.there].map((which) => ({ value: valueOf(which), text: nameOf(which) }));
    const [width, height] = data.shown[image];
    const canvases = ["left", "right"].map((side) => element("canvas", { class: side, width, height, role: "img", "aria-label": `${side}: ${nameOf(both[side])}` }));
    const range = element("input", {
      type: "range", min: 0, max: 100, step: 0.5, value: share, "aria-label": `How much of ${nameOf(both.left)} is shown against ${nameOf(both.right)}`,
    });
    const stage = element("div", { class: "stage", style: `aspect-ratio: ${width} / ${height}; max-width: calc(72vh * ${width / height})` }, canvases, element("span", { class: "line" }), range);
    const move = () => {
      share = Number(range.value);
      stage.style.setProperty("--share", `${share}%`);
    };
    range.addEventListener("input", move);
    move();
    const controls = element("div", { class: "controls" },
      choice("Left", options, valueOf(both.left), (left) => go({ left })),
      choice("Right", options, valueOf(both.right), (right) => go({ right })),
      choice("Show", SHOWN, state.show, (show) => go({ show })));
    return { controls, stage, canvases };
  }

  function threshold(state) {
    const text = element("output", {}, Number(state.threshold).toFixed(2));
    const range = element("input", { type: "range", "aria-label": "Errors at threshold", min: 0.01, max: 1, step: 0.01, value: state.threshold });
    range.addEventListener("input", () => {
      text.textContent = Number(range.value).toFixed(2);
      present.threshold = Number(range.value);
      requestAnimationFrame(repaint);
    });
    range.addEventListener("change", () => go({ threshold: range.value }));
    const key = [["HIT", "found"], ["FALSE_ALARM", "false alarm"], ["MISS", "missed"]].map(([name, label]) =>
      element("span", { class: "key" }, element("span", { class: "swatch", style: `background: rgb(${overlay.colors[name]})` }), label));
    return element("div", { class: "errors-key" }, element("label", {}, element("span", {}, "Errors at threshold"), range, text), key);
  }

  function figures(image) {
    const head = element("tr", {}, element("th", { scope: "col" }, "Method"),
      data.metrics.map((metric) => element("th", { scope: "col", class: "number" }, `${metric.label} ${metric.lower ? "↓" : "↑"}`)));
    const protocols = [...new Set(data.metrics.map((metric) => metric.protocol))];
    const above = element("tr", {}, element("td", {}), protocols.map((name) => element("th", { scope: "colgroup", class: "span", colspan: data.metrics.filter((metric) => metric.protocol === name).length }, `protocol ${name}`)));
    const best = data.metrics.map((metric, index) => {
      const found = data.figures[index].map((method) => method[image]).filter((value) => value !== null).map((value) => Number(value.toFixed(4)));
      return found.length > 1 ? (metric.lower ? Math.min(...found) : Math.max(...found)) : null;
    });
    const rows = data.methods.map((method, row) => element("tr", {}, element("th", { scope: "row" }, method),
      data.metrics.map((_, index) => {
        const value = data.figures[index][row][image];
        const marked = value !== null && Number(value.toFixed(4)) === best[index];
        return element("td", { class: marked ? "number rank1" : "number" }, number(value));
      })));
    return element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Figures of this image" },
      element("table", {}, element("caption", {}, "Figures of this image"), element("thead", {}, above, head), element("tbody", {}, rows)));
  }

  function facts(image) {
    const parts = [`${data.sizes[image]} pixels`];
    const features = data.features[image];
    if (features && features[1] === 0) parts.push("the mask is empty");
    else if (features) parts.push(`foreground ${(100 * features[0]).toFixed(2)} % of the pixels`, `${features[1]} object${features[1] === 1 ? "" : "s"}`);
    for (const grouping of data.groupings) {
      const group = grouping.groups.find((one) => one.images.includes(image));
      if (group && !["objects"].includes(grouping.name)) parts.push(`${grouping.name}: ${group.label}`);
    }
    const silent = data.metrics.flatMap((metric, index) => data.methods.filter((_, method) => data.figures[index][method][image] === null && isThere(method, image)));
    const remarks = [...(data.remarks[image] || [])];
    if (silent.length) remarks.push(`A figure is not a number: ${[...new Set(silent)].join(", ")}.`);
    return [element("p", { class: "facts" }, parts.join(" · ")), ...(data.resized[image] || []).map((remark) => element("p", { class: "facts" }, remark)), ...remarks.map((remark) => element("p", { class: "notice" }, remark))];
  }

  function cards(image) {
    const [width, height] = data.shown[image];
    const jobs = [];
    const canvas = (which, show, label) => {
      const made = element("canvas", { width, height, role: "img", "aria-label": label });
      jobs.push({ canvas: made, which, show });
      return made;
    };
    const card = (title, ...pictures) => element("figure", {}, element("figcaption", {}, title), element("div", { class: "pair" }, pictures));
    const list = [card("image and mask", canvas("image", "maps", "image"), canvas("mask", "maps", "mask"))];
    data.methods.forEach((method, index) => {
      if (isThere(index, image)) list.push(card(method, canvas(index, "maps", `map of ${method}`), canvas(index, "errors", `errors of ${method}`)));
      else list.push(card(method, element("p", { class: "absent", style: `aspect-ratio: ${2 * width} / ${height}` }, "no map of this image")));
    });
    return { jobs, list };
  }

  function steps(state, found, image) {
    const at = found.images.indexOf(image);
    const link = (target, text, key) => (target === undefined
      ? element("span", { class: "step off", "aria-disabled": "true" }, text)
      : element("a", { class: "step", href: address({ ...state, image: nameInAddress(target) }), "data-focus": key, title: `key ${key}` }, text));
    return element("div", { class: "steps" },
      element("a", { class: "step", href: address({ ...state, view: "images", image: "", left: "", right: "" }), title: "key Escape" }, "All images"),
      link(found.images[at - 1], "‹ Previous", "←"),
      element("span", { class: "position" }, at < 0 ? "not in this selection" : `${at + 1} of ${found.images.length}`),
      link(at < 0 ? found.images[0] : found.images[at + 1], "Next ›", "→"));
  }

  function repaint() {
    if (!present || !present.scene) return;
    for (const { canvas, which, show } of present.jobs) overlay.paint(canvas, present.scene, which, show, present.threshold);
  }

  async function draw(state) {
    const image = imageCalled(state.image);
    if (image < 0) {
      present = null;
      view.replaceChildren(element("p", { class: "notice" }, `No image is called ${state.image}.`), element("p", {}, element("a", { href: "#images" }, "All images")));
      return;
    }
    const fields = () => [...view.querySelectorAll("select, input, [data-focus]")];
    const focused = view.contains(document.activeElement) ? document.activeElement.dataset.focus || fields().filter((one) => !one.dataset.focus).indexOf(document.activeElement) : -1;
    const found = order.images(state);
    const both = sides(state, image);
    const compared = slider(state, image, both);
    const all = cards(image);
    const status = element("p", { class: "notice", role: "status", hidden: true });
    view.replaceChildren(steps(state, found, image), element("h2", { tabindex: "-1", class: "stem" }, data.stems[image]), ...facts(image), status,
      element("div", { class: "columns" },
        element("div", { class: "compared" }, compared.controls, compared.stage, threshold(state)),
        element("div", { class: "cards" }, all.list)),
      figures(image),
      element("p", { class: "note" }, "Keys: → or n next, ← or p previous, Escape all images. Pictures are reduced; figures come from the files themselves."));
    // What had the focus before the page changed has it again, so that a key can be pressed twice.
    if (typeof focused === "string") view.querySelector(`[data-focus="${focused}"]`)?.focus();
    else if (focused >= 0) fields().filter((one) => !one.dataset.focus)[focused]?.focus();
    const jobs = [{ canvas: compared.canvases[0], which: both.left, show: state.show }, { canvas: compared.canvases[1], which: both.right, show: state.show }, ...all.jobs];
    const own = { image, found, jobs, threshold: Number(state.threshold) || 0.5, scene: null };
    present = own;
    try {
      own.scene = await overlay.load(image);
    } catch (error) {
      status.hidden = false;
      status.textContent = `The pictures of this image cannot be shown: ${error.message}.`;
      return;
    }
    if (present !== own) return;
    repaint();
    view.dataset.painted = data.stems[image];
    const at = found.images.indexOf(image);
    for (const near of [found.images[at + 1], found.images[at - 1]]) if (near !== undefined) overlay.load(near).catch(() => {});
  }

  function step(by) {
    const at = present ? present.found.images.indexOf(present.image) : -1;
    const target = present && present.found.images[at < 0 ? 0 : at + by];
    if (target === undefined) return;
    present.image = target; // the address changes later, and the next key may come before
    go({ image: nameInAddress(target) });
  }

  document.addEventListener("keydown", (event) => {
    if (view.hidden || event.ctrlKey || event.metaKey || event.altKey) return;
    const field = event.target.closest?.("input, select, textarea");
    const slides = field?.type === "range"; // its arrow keys move the slider
    if (field && !slides) return;
    if (event.key === "n" || (!slides && event.key === "ArrowRight")) step(1);
    else if (event.key === "p" || (!slides && event.key === "ArrowLeft")) step(-1);
    else if (event.key === "Escape") go({ view: "images", image: "", left: "", right: "" });
    else return;
    event.preventDefault();
  });

  return { draw };
})();
