// Lines over time, drawn by uPlot (a global of uPlot.js).

import { el } from "/page/dom.js";
import { clock } from "/page/format.js";

/** Height of a chart, in CSS pixels. */
const HEIGHT = 220;

const dark = matchMedia("(prefers-color-scheme: dark)");

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** A chart of `lines`: [title, name of its colour, key of a point]; `show` formats a value. */
export class Chart {
  constructor(title, lines, show) {
    this.lines = lines;
    this.show = show;
    this.place = el("div", { class: "plot" });
    this.caption = el("figcaption", {}, title);
    this.node = el("figure", { class: "card chart" }, this.caption, this.place);
    this.data = [[], ...lines.map(() => [])];
    this.resized = new ResizeObserver(() => this.fit());
    this.resized.observe(this.place);
    this.recolour = () => this.draw();
    dark.addEventListener("change", this.recolour);
  }

  /** Points in the order of their time; a gap longer than two intervals is left empty. */
  update(points, everyS) {
    const rows = [];
    for (const point of points) {
      const last = rows.at(-1);
      if (last && point.at - last.at > 2 * everyS + 1) rows.push({ at: last.at + everyS });
      rows.push(point);
    }
    this.data = [rows.map((row) => row.at), ...this.lines.map(([, , key]) => rows.map((row) => row[key] ?? null))];
    if (this.plot) this.plot.setData(this.data);
    else this.draw();
  }

  close() {
    this.resized.disconnect();
    dark.removeEventListener("change", this.recolour);
    this.plot?.destroy();
  }

  fit() {
    const width = this.place.clientWidth;
    if (this.plot && width > 0 && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
    else if (!this.plot) this.draw();
  }

  draw() {
    const width = this.place.clientWidth;
    if (width === 0) return;
    this.plot?.destroy();
    this.plot = new window.uPlot(this.options(width), this.data, this.place);
  }

  options(width) {
    const axis = { stroke: colour("quiet"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    const value = (plot, raw) => (raw === null || raw === undefined ? "–" : this.show(raw));
    return {
      width,
      height: HEIGHT,
      cursor: { y: false, points: { size: 6 } },
      scales: { x: { time: true }, y: { range: (plot, low, high) => [0, Math.max(high ?? 0, 0.001) * 1.1] } },
      axes: [
        { ...axis, space: 70, values: (plot, ticks) => ticks.map((tick) => clock(tick).slice(0, plot.scales.x.max - plot.scales.x.min > 180 ? 5 : 8)) },
        { ...axis, size: 64, values: (plot, ticks) => ticks.map((tick) => this.show(tick)) },
      ],
      series: [
        { label: "time", value: (plot, raw) => (raw ? clock(raw) : "–") },
        ...this.lines.map(([label, name], index) => ({ label, value, stroke: colour(name), width: 1.75, dash: index % 4 === 3 ? [5, 4] : undefined, points: { show: false } })),
      ],
    };
  }
}
