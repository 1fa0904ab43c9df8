// Show the view that the address names.
"use strict";

(function () {
  const { data, read, address } = Report;
  const views = Object.fromEntries(["scores", "curves", "images", "image"].map((name) => [name, document.getElementById(`view-${name}`)]));
  const title = document.title;
  let last = null;

  function show() {
    const state = read(location.hash);
    const changed = last !== state.view;
    if (last === "images" && changed) Report.grid.leave();
    for (const [name, view] of Object.entries(views)) view.hidden = name !== state.view;
    for (const link of document.querySelectorAll("nav [data-view]")) {
      const own = link.dataset.view === state.view || (link.dataset.view === "images" && state.view === "image");
      if (own) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
      const kept = state.view === "image" ? { ...state, image: "", left: "", right: "" } : state;
      link.setAttribute("href", address({ ...kept, view: link.dataset.view }));
    }
    if (changed && state.view !== "images") window.scrollTo(0, 0);
    if (state.view === "images") Report.grid.draw(state);
    if (state.view === "image") Report.picture.draw(state);
    if (state.view === "curves") Report.curves.draw(state);
    document.title = state.view === "image" ? `${state.image} – ${data.dataset}` : title;
    if (last !== null && changed) views[state.view].querySelector("h2")?.focus({ preventScroll: true });
    last = state.view;
  }

  // The library that draws curves is large: it is loaded when the reader is about to ask for them.
  document.querySelector('nav [data-view="curves"]').addEventListener("pointerenter", () => Report.curves.load().catch(() => {}));
  for (const link of document.querySelectorAll("a[data-group]")) {
    link.setAttribute("href", address({ ...read(""), view: "images", grouping: link.dataset.grouping, group: link.dataset.group }));
  }
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    document.getElementById("main").focus();
  });
  window.addEventListener("hashchange", show);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (last === "curves") show(); });
  show();
})();
