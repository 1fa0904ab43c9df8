// Which images are shown, and in which order.
"use strict";

Report.order = (function () {
  const { data, metricIndex } = Report;
  const methodIndex = (name) => data.methods.indexOf(name);

  // The figure that images are sorted by: of one method, or the difference of two. null where a figure is absent.
  function values(state) {
    const figures = data.figures[metricIndex(state.figure)];
    const own = figures[methodIndex(state.method)];
    if (!state.minus) return own;
    const other = figures[methodIndex(state.minus)];
    return own.map((value, image) => (value === null || other[image] === null ? null : value - other[image]));
  }

  function members(state) {
    const grouping = data.groupings.find((one) => one.name === state.grouping);
    const group = grouping && grouping.groups.find((one) => one.label === state.group);
    return group ? new Set(group.images) : null;
  }

  // Images of the group whose names hold every word; those without a figure come last.
  function images(state) {
    const figure = values(state);
    const group = members(state);
    const words = state.text.toLowerCase().split(/\s+/).filter(Boolean);
    const kept = [];
    data.stems.forEach((stem, image) => {
      const name = stem.toLowerCase();
      if ((!group || group.has(image)) && words.every((word) => name.includes(word))) kept.push(image);
    });
    if (state.order !== "name") {
      const up = (state.order === "worst") !== data.metrics[metricIndex(state.figure)].lower ? 1 : -1;
      kept.sort((a, b) => {
        if (figure[a] === null || figure[b] === null) return (figure[a] === null) - (figure[b] === null) || a - b;
        return up * (figure[a] - figure[b]) || a - b;
      });
    }
    return { images: kept, figure, absent: kept.filter((image) => figure[image] === null).length };
  }

  return { images, methodIndex };
})();
