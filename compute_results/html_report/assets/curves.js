// Precision-recall, Fβ and E curves, drawn by Plotly, which is loaded when they are first looked at.
"use strict";

Report.curves = (function () {
  const { data, choice, go } = Report;
  // Okabe and Ito's colors, which most color-blind readers tell apart; the gray stands for their black.
  const COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f"];
  const COLORS_ON_DARK = ["#4ea8e8", "#f0803c", "#2fc59b", "#e29bc5", "#f0b73a", "#a5d8f8", "#b4b4b4"];
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const DASHES = ["solid", "dash", "dashdot", "dot"];
  const CHARTS = { pr: "chart-pr", f: "chart-f", e: "chart-e" };
  let library = null;

  function load() {
    library ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = document.body.dataset.plotly;
      script.onload = () => resolve(window.Plotly);
      script.onerror = () => { library = null; reject(new Error(`${script.src} cannot be loaded`)); };
      document.head.append(script);
    });
    return library;
  }

  // Plotly reads some tags and entities in names, and takes dollar signs for formulas.
  const plain = (name) => name.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("$", "&#36;");

  function trace(method, index, x, y, more) {
    const colors = dark.matches ? COLORS_ON_DARK : COLORS;
    const line = { color: colors[index % colors.length], dash: DASHES[(index % COLORS.length + Math.floor(index / COLORS.length)) % DASHES.length], width: 2 };
    return { type: "scatter", mode: "lines", name: plain(method), x, y, line, ...more };
  }

  function layout(title, across, up, traces, unified) {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(name).trim();
    // Up to 0.1 below all points but the lowest 5 %, where every method's curve drops alike.
    const lowest = (name) => {
      const sorted = traces.map((one) => one[name].filter((value) => value !== null).sort((a, b) => a - b)).filter((found) => found.length);
      return Math.max(0, Math.floor(10 * Math.min(1, ...sorted.map((found) => found[Math.floor(found.length * 0.05)])) - 0.5) / 10);
    };
    const axis = (name, more) => ({ title: { text: name, standoff: 8 }, gridcolor: of("--line"), zeroline: false, linecolor: of("--line"), ...more });
    return {
      title: { text: title, x: 0.02, font: { size: 15 } }, font: { color: of("--text"), family: of("--font"), size: 12 }, paper_bgcolor: of("--panel"), plot_bgcolor: of("--panel"),
      margin: { l: 56, r: 12, t: 44, b: 48 }, height: 430, hovermode: unified ? "x unified" : "closest",
      hoverlabel: { namelength: -1, bgcolor: of("--panel"), bordercolor: of("--line"), font: { color: of("--text") } },
      legend: { orientation: "h", y: -0.22 }, xaxis: axis(across, { range: [unified ? 0 : lowest("x"), 1.005] }), yaxis: axis(up, { range: [lowest("y"), 1.005] }),
    };
  }

  function charts(protocol) {
    const curves = data.curves[protocol];
    const of = (name, x) => data.methods.flatMap((method, index) => {
      const own = curves[index];
      return own && own[name] ? [trace(method, index, own[x], own[name], {})] : [];
    });
    const pr = data.methods.flatMap((method, index) => (curves[index] ? [trace(method, index, curves[index].recall, curves[index].precision, {
      customdata: curves[index].threshold, hovertemplate: "recall %{x:.4f}<br>precision %{y:.4f}<br>threshold %{customdata:.3f}<extra>%{fullData.name}</extra>",
    })] : []));
    const over = { hovertemplate: "%{y:.4f}" };
    return {
      pr: { traces: pr, layout: layout("Precision over recall", "recall", "precision", pr, false) },
      ...Object.fromEntries([["f", "Fβ over threshold", "Fβ"], ["e", "E-measure over threshold", "E"]].map(([name, title, up]) => {
        const traces = of(name, "threshold").map((one) => ({ ...one, ...over }));
        return [name, { traces, layout: layout(title, "threshold", up, traces, true) }];
      })),
    };
  }

  async function draw(state) {
    const protocols = Object.keys(data.curves);
    const protocol = protocols.includes(state.protocol) ? state.protocol : protocols[0];
    const controls = document.getElementById("curve-controls");
    controls.replaceChildren(choice("Protocol", protocols.map((name) => ({ value: name, text: name })), protocol, (name) => go({ protocol: name })));
    const status = document.getElementById("curve-state");
    let plotly;
    try {
      plotly = await load();
    } catch (error) {
      status.textContent = `The curves cannot be drawn: ${error.message}.`;
      return;
    }
    const config = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["lasso2d", "select2d"] };
    for (const [name, chart] of Object.entries(charts(protocol))) {
      const place = document.getElementById(CHARTS[name]);
      place.hidden = !chart.traces.length;
      if (!chart.traces.length) continue;
      await plotly.react(place, chart.traces, chart.layout, config);
      await new Promise(requestAnimationFrame); // each chart is seen as soon as it is drawn
    }
    const withoutE = !charts(protocol).e.traces.length;
    status.hidden = !withoutE;
    status.textContent = `Protocol ${protocol} has no E-measure.`;
    document.getElementById("view-curves").dataset.painted = protocol;
  }

  return { draw, load };
})();
