// Lines over time, by uPlot, which draws on a canvas. Beside each line is its latest value as text, or the one under the pointer.
/* global uPlot */
import { h } from "./dom.js";
import { NONE } from "./format.js";

const HEIGHT = 168;
const plots = new Map();

/** Steps of an axis of bytes. */
const BINARY = Array.from({ length: 56 }, (_, n) => 2 ** n);

/** Where a plot is to be. `lines` are `[name, label, colour 1 to 4]`, `show` writes a value; of bytes an axis has other steps. */
export function plot(id, title, lines, show, { ofBytes = false } = {}) {
  plots.set(id, Object.assign(plots.get(id) ?? {}, { lines, show, ofBytes }));
  return h("figure", { class: "plot", id, "data-keep": "" },
    h("figcaption", {}, h("h3", {}, title), h("dl", { class: "legend" }, lines.map(([name, label, colour]) =>
      h("div", {}, h("dt", {}, h("span", { class: `swatch c${colour}` }), label), h("dd", { "data-line": name }, NONE))))),
    h("div", { class: "canvas", role: "img", "aria-label": `${title}, lately; the latest values are beside its title` }));
}

/** Has the plots that are on the page show these points: `{t: […], name: […]}`. */
export function fill(points) {
  for (const [id, plot] of plots) {
    const place = document.getElementById(id);
    if (!place) {
      plot.chart?.destroy();
      plot.observer?.disconnect();
      plots.delete(id);
      continue;
    }
    const data = [points.t.map((ms) => ms / 1000), ...plot.lines.map(([name]) => points[name])];
    if (plot.place !== place) {
      plot.chart?.destroy();
      plot.observer?.disconnect();
      begin(plot, place, data);
    } else {
      plot.chart.setData(data);
    }
    legend(plot);
  }
}

/** Draws all of them anew, with the colours that the page has now. */
export function repaint() {
  for (const plot of plots.values()) {
    if (!plot.chart) continue;
    const { data } = plot.chart;
    plot.chart.destroy();
    plot.observer.disconnect();
    begin(plot, plot.place, data);
  }
}

function begin(plot, place, data) {
  const canvas = place.querySelector(".canvas");
  const style = getComputedStyle(place);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = {
    stroke: colour("--quiet"),
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { show: false },
    font: "11px system-ui, sans-serif",
  };
  plot.place = place;
  plot.chart = new uPlot({
    width: Math.max(canvas.clientWidth, 120),
    height: HEIGHT,
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, points: { size: 6 } },
    scales: { y: { range: (_, low, high) => [Math.min(0, low ?? 0), high > 0 ? high * 1.08 : 1] } },
    axes: [
      { ...axis, size: 28, space: 70, values: "{HH}:{mm}:{ss}" },
      { ...axis, size: 64, incrs: plot.ofBytes ? BINARY : undefined, values: (_, values) => values.map((value) => (value === 0 ? "0" : plot.show(value))) },
    ],
    series: [{}, ...plot.lines.map(([, label, n]) => ({
      label, stroke: colour(`--c${n}`), width: 1.5, spanGaps: false, points: { show: false },
    }))],
    hooks: { setCursor: [() => legend(plot)] },
  }, data, canvas);
  plot.observer = new ResizeObserver(() => {
    const width = canvas.clientWidth;
    if (width > 0 && width !== plot.chart.width) plot.chart.setSize({ width, height: HEIGHT });
  });
  plot.observer.observe(canvas);
}

function legend(plot) {
  if (!plot.chart) return;
  const { data, cursor } = plot.chart;
  plot.lines.forEach(([name], n) => {
    const values = data[n + 1];
    const at = cursor.idx ?? values.length - 1;
    const place = plot.place.querySelector(`[data-line="${name}"]`);
    const text = plot.show(values[at] ?? null);
    if (place.textContent !== text) place.textContent = text;
  });
}
