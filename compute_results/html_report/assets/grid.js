// The grid of images: controls, and cells that are added while the reader scrolls.
"use strict";

Report.grid = (function () {
  const { data, element, choice, nameInAddress, number, signed, go, address, order } = Report;
  const MORE = 60;
  let shown = null; // the state's address for which the grid is filled
  let waiting = [];
  let scrolled = 0;

  function tile(image, position, alt) {
    const [width, height] = data.shown[image];
    const count = data.methods.length + 2;
    const key = data.keys[image];
    return element("img", {
      src: `thumbnails/${key.slice(0, 2)}/${key}.webp`, alt, loading: "lazy", decoding: "async", draggable: "false",
      style: `aspect-ratio: ${width} / ${height}; object-position: ${(100 * position) / (count - 1)}% 0`,
    });
  }

  function mapTile(image, method) {
    const [width, height] = data.shown[image];
    const index = order.methodIndex(method);
    if (!data.missing[index].has(image)) return tile(image, index + 2, `map of ${method}`);
    return element("span", { class: "absent", style: `aspect-ratio: ${width} / ${height}` }, "no map");
  }

  function cell(state, image, figure) {
    const methods = state.minus ? [state.method, state.minus] : [state.method];
    const metric = data.metrics[Report.metricIndex(state.figure)];
    const value = state.minus ? signed(figure[image]) : number(figure[image]);
    return element("li", {}, element("a", { href: address({ ...state, view: "image", image: nameInAddress(image) }) },
      element("span", { class: "tiles" }, tile(image, 0, "image"), tile(image, 1, "mask"), methods.map((method) => mapTile(image, method))),
      element("span", { class: "label" }, element("span", { class: "stem", title: data.stems[image] }, data.stems[image]),
        element("span", { class: "value" }, `${metric.label} ${value}`))));
  }

  function more(count) {
    const { state, figure, images } = waiting;
    const next = images.splice(0, count);
    document.getElementById("grid").append(...next.map((image) => cell(state, image, figure)));
  }

  function controls(state) {
    const metrics = data.metrics.map((metric) => ({
      value: `${metric.protocol}.${metric.name}`, text: `${metric.label} ${metric.lower ? "↓" : "↑"} (${metric.protocol})`, of: `protocol ${metric.protocol}`,
    }));
    const methods = data.methods.map((name) => ({ value: name, text: name }));
    const groups = [{ value: "", text: "all images" }];
    data.groupings.forEach((grouping, first) => grouping.groups.forEach((group, second) => {
      groups.push({ value: `${first}.${second}`, text: `${group.label} (${group.images.length})`, of: grouping.name });
    }));
    const first = data.groupings.findIndex((grouping) => grouping.name === state.grouping);
    const second = first < 0 ? -1 : data.groupings[first].groups.findIndex((group) => group.label === state.group);
    const chooseGroup = (value) => {
      const [one, two] = value.split(".");
      go(value ? { grouping: data.groupings[one].name, group: data.groupings[one].groups[two].label } : { grouping: "", group: "" });
    };
    const search = element("input", { type: "search", "aria-label": "Name", value: state.text, placeholder: "part of a name", oninput: (event) => go({ text: event.target.value }) });
    const made = [
      choice("Sort by", metrics, state.figure, (figure) => go({ figure })),
      choice("of", methods, state.method, (method) => go({ method })),
    ];
    if (data.methods.length > 1) {
      const others = [{ value: "", text: "nothing" }, ...methods.filter((option) => option.value !== state.method)];
      made.push(choice("minus", others, state.minus, (minus) => go({ minus })));
    }
    const orders = [{ value: "worst", text: "worst first" }, { value: "best", text: "best first" }, { value: "name", text: "by name" }];
    made.push(choice("Order", orders, state.order, (value) => go({ order: value })));
    made.push(choice("Group", groups, second < 0 ? "" : `${first}.${second}`, chooseGroup));
    made.push(element("label", {}, element("span", {}, "Name"), search));
    return made;
  }

  function count(found, state) {
    const parts = [`${found.images.length} of ${data.stems.length} images.`];
    if (state.minus && state.order === "worst") parts.push(`First those where ${state.method} is worst against ${state.minus}.`);
    if (found.absent) parts.push(`${found.absent} without this figure come last.`);
    return parts.join(" ");
  }

  function draw(state) {
    const own = { ...state, view: "images", image: "", show: "maps", left: "", right: "", threshold: "0.5" };
    if (shown === address(own)) {
      window.scrollTo(0, scrolled);
      return;
    }
    const form = document.getElementById("grid-controls");
    // The control in use stays: a search field that is made anew would lose the cursor.
    const active = [...form.querySelectorAll("select, input")].indexOf(document.activeElement);
    if (document.activeElement.type !== "search" || active < 0) {
      form.replaceChildren(...controls(state));
      if (active >= 0) form.querySelectorAll("select, input")[active]?.focus();
    }
    const found = order.images(state);
    document.getElementById("grid-count").textContent = count(found, state);
    document.getElementById("grid").replaceChildren();
    document.getElementById("grid").dataset.tiles = state.minus ? 4 : 3;
    waiting = { state: own, figure: found.figure, images: found.images.slice() };
    if (shown !== null) window.scrollTo(0, 0);
    shown = address(own);
    more(MORE);
  }

  function leave() {
    scrolled = window.scrollY;
  }

  new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting) && waiting.images?.length) more(MORE);
  }, { rootMargin: "800px" }).observe(document.getElementById("grid-end"));

  document.getElementById("grid-controls").addEventListener("submit", (event) => event.preventDefault());

  return { draw, leave, tile };
})();
