// What all views share: elements, figures as text, and the state, which is the part of the address after "#".
"use strict";

window.Report = (function () {
  const data = window.reportData;
  data.missing = data.missing.map((images) => new Set(images));
  const NONE = "–";

  const DEFAULTS = {
    view: "scores", protocol: data.metrics[0].protocol, figure: defaultFigure(), method: data.methods[data.methods.length - 1],
    minus: "", order: "worst", grouping: "", group: "", text: "", image: "", show: "maps", left: "", right: "", threshold: "0.5",
  };

  function defaultFigure() {
    const found = data.metrics.find((metric) => metric.name === "Sm") || data.metrics[0];
    return `${found.protocol}.${found.name}`;
  }

  // Text becomes a text node and never markup: names may hold anything.
  function element(tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
    return made;
  }

  function choice(label, options, value, onchange) {
    const made = (option) => element("option", { value: option.value, selected: option.value === value }, option.text);
    const children = [];
    const groups = new Map();
    for (const option of options) {
      if (option.of === undefined) children.push(made(option));
      else if (groups.has(option.of)) groups.get(option.of).append(made(option));
      else {
        groups.set(option.of, element("optgroup", { label: option.of }, made(option)));
        children.push(groups.get(option.of));
      }
    }
    return element("label", {}, element("span", {}, label), element("select", { "aria-label": label, onchange: (event) => onchange(event.target.value) }, children));
  }

  function number(value) {
    return value === null || value === undefined ? NONE : value.toFixed(4);
  }

  function signed(value) {
    return value === null ? NONE : (value < 0 ? "−" : "+") + Math.abs(value).toFixed(4);
  }

  function metricIndex(name) {
    const found = data.metrics.findIndex((metric) => `${metric.protocol}.${metric.name}` === name);
    return found < 0 ? 0 : found;
  }

  function read(hash) {
    const [view, query] = hash.replace(/^#/, "").split(/\?(.*)/s);
    const state = { ...DEFAULTS };
    if (["scores", "curves", "images", "image"].includes(view)) state.view = view;
    for (const [name, value] of new URLSearchParams(query || "")) if (name in state && name !== "view") state[name] = value;
    if (!data.methods.includes(state.method)) state.method = DEFAULTS.method;
    if (!data.methods.includes(state.minus) || state.minus === state.method) state.minus = "";
    return state;
  }

  function address(state) {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(state)) if (name !== "view" && value !== DEFAULTS[name]) query.set(name, value);
    const text = query.toString();
    return `#${state.view}${text ? `?${text}` : ""}`;
  }

  // Change parts of the state; `step` makes the browser's Back button return to the present one.
  function go(changes, step) {
    const target = address({ ...read(location.hash), ...changes });
    if (step) location.hash = target;
    else location.replace(target);
  }

  // A name that is no Unicode text cannot stand in an address; the pictures' name does.
  function nameInAddress(image) {
    const stem = data.stems[image];
    return new TextDecoder().decode(new TextEncoder().encode(stem)) === stem ? stem : data.keys[image];
  }

  function imageCalled(name) {
    const found = data.stems.indexOf(name);
    return found < 0 ? data.keys.indexOf(name) : found;
  }

  return { data, nameInAddress, imageCalled, NONE, element, choice, number, signed, metricIndex, read, address, go };
})();
