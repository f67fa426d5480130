"use strict";
// Draws the figures, and lets the reader change step axis and shade for all of them at once.
(() => {
  const { figures, light, dark } = JSON.parse(document.getElementById("specifications").textContent);
  const root = document.documentElement;
  const state = { shade: matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light", axis: "symlog" };
  const views = [];

  // A symlog scale is only ever the step axis.
  const walk = (node, visit) => {
    if (Array.isArray(node)) node.forEach((part) => walk(part, visit));
    else if (node && typeof node === "object") { visit(node); Object.values(node).forEach((part) => walk(part, visit)); }
  };

  const fitted = (original, room) => {
    const spec = structuredClone(original);
    const whole = (spec.usermeta && spec.usermeta.width) || 800;
    const margin = 90; // axis labels and names beside the plot
    const factor = Math.min(1.15, (room - margin) / whole);
    if (spec.concat && factor < 0.75) { spec.columns = 1; }
    const columns = spec.concat && factor < 0.75 ? (spec.usermeta.columns || 1) : 1;
    const datasets = spec.datasets; delete spec.datasets;
    walk(spec, (node) => {
      if (typeof node.width === "number" && (node.mark || node.layer)) node.width = Math.round(node.width * factor * columns);
      if (node.type === "symlog" && state.axis === "linear") { node.type = "linear"; delete node.constant; }
      if (state.axis === "linear" && node.axis && node.axis.labelExpr && node.scale && node.scale.type === "linear") delete node.axis.values;
    });
    spec.datasets = datasets;
    return spec;
  };

  const draw = async () => {
    root.dataset.shade = state.shade;
    for (const place of document.querySelectorAll(".plot")) {
      const index = Number(place.dataset.figure);
      const config = { ...(state.shade === "dark" ? dark : light), background: "transparent" };
      if (views[index]) views[index].finalize();
      views[index] = await vegaEmbed(place, fitted(figures[index], place.clientWidth), {
        config, renderer: "canvas", actions: { export: true, source: true, compiled: false, editor: false },
      });
    }
  };

  document.getElementById("shade").addEventListener("click", () => { state.shade = state.shade === "dark" ? "light" : "dark"; draw(); });
  document.getElementById("axis").addEventListener("change", (event) => { state.axis = event.target.value; draw(); });
  let room = document.body.clientWidth, timer;
  addEventListener("resize", () => {
    clearTimeout(timer);
    timer = setTimeout(() => { if (document.body.clientWidth !== room) { room = document.body.clientWidth; draw(); } }, 200);
  });
  draw();
})();
