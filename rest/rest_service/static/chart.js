// Lines over the last hour, drawn by uPlot, which is loaded when the first chart is shown.

import { h, put } from "./dom.js";

let loading = null;

function library() {
  loading ??= new Promise((resolve, reject) => {
    const style = h("link", { rel: "stylesheet", href: "vendor/uPlot.min.css" });
    const script = h("script", { src: "vendor/uPlot.iife.min.js", onload: () => resolve(globalThis.uPlot), onerror: reject });
    document.head.append(style, script);
  });
  return loading;
}

const HEIGHT = 180;
/** Seconds that are shown at most, and at least. */
const [LONGEST, SHORTEST] = [3600, 60];
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Return where the axis of times begins and ends: what uPlot proposes for one point is years. */
function span({ data: [times] }) {
  const end = times.at(-1) ?? Date.now() / 1000;
  return [Math.max(end - LONGEST, Math.min(times[0] ?? end, end - SHORTEST)), end];
}

/** Return a chart with `update([times, values, values])`; *shown* turns a value into text. */
export function chart(name, lines, shown) {
  const place = h("div", { class: "plot", role: "img", "aria-label": name });
  const words = h("figcaption", {});
  let plot = null;
  let data = [[], [], []];

  function make(uPlot) {
    plot?.destroy();
    const axis = { stroke: color("--text"), grid: { stroke: color("--line"), width: 1 }, ticks: { stroke: color("--line") } };
    plot = new uPlot({
      width: place.clientWidth || 300,
      height: HEIGHT,
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { range: span }, y: { range: (_, low, high) => [0, Math.max(1, high * 1.1)] } },
      axes: [axis, { ...axis, size: 56 }],
      series: [{}, ...lines.map((label, index) =>
        ({ label, stroke: color(`--line-${index + 1}`), width: 2, dash: index ? [6, 4] : [] }))],
    }, data, place);
  }

  return {
    element: h("figure", {}, h("p", { class: "legend" }, `${name}: `,
      lines.map((line, index) => h("span", { class: `key key-${index + 1}` }, line))), place, words),
    async start(signal) {
      const uPlot = await library();
      if (signal.aborted) return;
      make(uPlot);
      const sizes = new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: HEIGHT }));
      sizes.observe(place);
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => make(uPlot), { signal });
      signal.addEventListener("abort", () => { sizes.disconnect(); plot.destroy(); });
    },
    update(next) {
      data = next;
      plot?.setData(data);
      put(words, lines.map((line, index) => {
        const values = data[index + 1];
        return values.length ? `${line} now ${shown(values.at(-1))}, most ${shown(Math.max(...values))}` : `${line}: none yet`;
      }).join("; "));
    },
  };
}
