"use strict";
// Draws each figure when it comes near the window; step axis, shade, brush and click act on all of them at once.
(() => {
  let { figures, light, dark, tokens } = JSON.parse(document.getElementById("specifications").textContent);
  const root = document.documentElement;
  const places = [...document.querySelectorAll(".plot")];
  const views = new Array(places.length).fill(null);
  const state = {
    shade: matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light", axis: "symlog",
    window: null, chosen: "", generation: 0,
  };
  const STEPS = new Set(["step", "first", "last", "lower", "upper", "onset", "midpoint", "completion", "left", "right"]);

  const walk = (node, visit) => {
    if (Array.isArray(node)) { node.forEach((part) => walk(part, visit)); return; }
    if (!node || typeof node !== "object") return;
    visit(node);
    for (const [name, part] of Object.entries(node)) if (name !== "datasets") walk(part, visit);
  };

  // Tokens seen at a step: a constant times it or, where batches grow, in between the checkpoints that tell.
  const seen = (step) => {
    if (typeof tokens === "number") return step * tokens;
    const after = Math.max(1, Math.min(tokens.length - 1, tokens.findIndex(([known]) => known >= step)));
    const [[a, x], [b, y]] = [tokens[after - 1], tokens[after]];
    return Math.max(0, x + (step - a) * (y - x) / (b - a));
  };

  // A symlog scale is only ever the step axis.
  const onAxis = (spec, kind) => {
    if (kind === "symlog") return;
    walk(spec, (node) => {
      if (node.scale && node.scale.type === "symlog") {
        if (kind === "linear") { node.scale.type = "linear"; delete node.scale.constant; }
        else node.scale.constant = seen(node.scale.constant);
        if (node.axis) { delete node.axis.values; delete node.axis.tickCount; }
        if (node.axis && kind === "tokens") node.axis.values = ticks(node.scale.constant);
        if (kind === "tokens" && node.title) node.title = "tokens seen";
      }
      if (kind === "tokens" && node.tooltip && node.tooltip.value && node.tooltip.value.expr) {
        node.tooltip.value.expr = node.tooltip.value.expr.replace('"step": ', '"tokens seen": ');
      }
      if (kind === "tokens" && Array.isArray(node.tooltip)) node.tooltip.forEach((hint) => {
        if (STEPS.has(hint.field)) hint.title = (hint.title || hint.field) === "step" ? "tokens seen"
          : hint.title && hint.title.includes("step") ? hint.title.replace("step", "tokens") : `${hint.title || hint.field} (tokens)`;
      });
    });
    if (kind !== "tokens") return;
    for (const parameter of spec.params || []) if (/_step$/.test(parameter.name)) parameter.value = seen(parameter.value);
    for (const rows of Object.values(spec.datasets || {})) for (const row of rows) for (const name of STEPS)
      if (typeof row[name] === "number") row[name] = seen(row[name]);
  };

  const ticks = (constant) => {
    const values = [0];
    for (let power = Math.floor(Math.log10(constant)); power < 16; power += 1) values.push(10 ** power, 3 * 10 ** power);
    return values.filter((value) => value === 0 || value >= constant);
  };

  // Widths are designed for a desk; a narrow window gets narrower plots, and side-by-side ones below each other.
  const fit = (spec, factor, stacked, room) => {
    const columns = spec.usermeta.columns || 1;
    if (stacked) spec.columns = 1;
    walk(spec, (node) => {
      if (typeof node.width === "number" && (node.mark || node.layer)) {
        node.width = Math.max(120, Math.round(node.width * factor * (stacked ? columns : 1)));
      }
      // What does not shrink with the plot: names at the left, and legends of many columns.
      if (node.axis && node.axis.labelLimit) node.axis.labelLimit = Math.min(node.axis.labelLimit, 0.5 * room);
      if (node.axis && node.axis.minExtent) node.axis.minExtent = Math.min(node.axis.minExtent, 0.3 * room);
      if (node.legend && node.legend.columns) node.legend.columns = Math.max(1, Math.min(node.legend.columns, Math.floor(room / 160)));
    });
  };

  const unpacked = ({ rows, columns }) => {
    const names = Object.keys(columns);
    return Array.from({ length: rows }, (_, row) => Object.fromEntries(names.map((name) => {
      const { texts, values } = columns[name];
      return [name, texts ? texts[values[row]] : values[row]];
    })));
  };

  const embed = async (place, index, factor, stacked) => {
    const { datasets, ...rest } = figures[index];
    const spec = structuredClone(rest);
    spec.datasets = Object.fromEntries(Object.entries(datasets).map(([name, packed]) => [name, unpacked(packed)]));
    onAxis(spec, state.axis);
    fit(spec, factor, stacked, place.clientWidth);
    const config = { ...(state.shade === "dark" ? dark : light), background: "transparent" };
    const actions = { export: true, source: true, compiled: false, editor: false };
    return vegaEmbed(place, spec, { config, actions, renderer: "canvas" });
  };

  const draw = async (index) => {
    const place = places[index], room = place.clientWidth, generation = state.generation;
    const designed = figures[index].usermeta.width;
    let factor = Math.min(1.1, (room - 60) / designed);
    const stacked = figures[index].usermeta.columns > 1 && factor < 0.7; // decided once, or a correction would undo it
    let result = await embed(place, index, factor, stacked);
    const drawn = result.view.container().querySelector("canvas").clientWidth;
    // Labels and legends take room that is known only once they are drawn: correct once.
    if (drawn > room || (factor < 1.1 && drawn < room - 40)) {
      const corrected = Math.min(1.1, factor + (room - drawn - 4) / designed);
      if (Math.abs(corrected - factor) > 0.01 && corrected > 0.1) {
        const { width } = figures[index];
        if (width) await result.view.signal("width", Math.max(120, Math.round(width * corrected))).runAsync();
        else { result.finalize(); result = await embed(place, index, corrected, stacked); }
      }
    }
    if (generation !== state.generation) { result.finalize(); return; }
    views[index] = result;
    place.style.minHeight = "0";
    listen(result);
    apply(result);
  };

  const names = (view) => Object.keys(view.getState({ data: () => false, signals: () => true }).signals);
  const listen = (result) => {
    const known = names(result.view);
    const brushes = known.filter((name) => /^window_\d+$/.test(name));
    // The figure with the brush keeps its own axis, or the brush would run away from the pointer.
    result.ends = known.includes("from_step") && !brushes.length
      ? [result.view.signal("from_step"), result.view.signal("to_step")] : null;
    result.marks = known.includes("chosen");
    for (const name of brushes) result.view.addSignalListener(name, (_, value) => narrow(value.step || null));
    for (const name of known.filter((name) => /^pick_\d+$/.test(name))) {
      result.view.addSignalListener(name, (_, value) => mark((value.curve || [""])[0]));
    }
  };
  const apply = ({ view, ends, marks }) => {
    if (ends) view.signal("from_step", (state.window || ends)[0]).signal("to_step", (state.window || ends)[1]);
    if (marks) view.signal("chosen", state.chosen);
    if (ends || marks) view.runAsync();
  };
  const every = () => views.forEach((result) => result && apply(result));
  let waiting;
  const narrow = (steps) => {
    state.window = steps && steps[1] > steps[0] ? steps : null;
    clearTimeout(waiting);
    waiting = setTimeout(every, 60);
  };
  const mark = (curve) => { state.chosen = state.chosen === curve ? "" : curve; every(); };

  // One after the other, the nearest to the reader first: drawn at once, all of them would be late.
  let queue = [], drawing = false;
  const distance = (index) => Math.abs(places[index].getBoundingClientRect().top - innerHeight / 3);
  const work = async () => {
    if (drawing) return;
    drawing = true;
    while (queue.length) {
      queue.sort((a, b) => distance(a) - distance(b));
      await draw(queue.shift());
      await new Promise((next) => { setTimeout(next, 0); });
    }
    drawing = false;
  };
  const observer = new IntersectionObserver((entries) => {
    const near = entries.filter((entry) => entry.isIntersecting).map((entry) => entry.target);
    near.forEach((place) => { observer.unobserve(place); queue.push(places.indexOf(place)); });
    work();
  }, { rootMargin: "600px" });
  const redraw = () => {
    root.dataset.shade = state.shade;
    state.generation += 1;
    queue = [];
    views.forEach((result, index) => { if (result) { result.finalize(); views[index] = null; } });
    places.forEach((place) => { place.style.minHeight = `${place.clientHeight}px`; observer.unobserve(place); observer.observe(place); });
  };

  document.getElementById("shade").addEventListener("click", () => { state.shade = state.shade === "dark" ? "light" : "dark"; redraw(); });
  const axis = document.getElementById("axis");
  if (!tokens) axis.querySelector("[value=tokens]").remove();
  axis.addEventListener("change", () => { state.axis = axis.value; state.window = null; redraw(); });
  let room = document.body.clientWidth, timer;
  addEventListener("resize", () => {
    clearTimeout(timer);
    timer = setTimeout(() => { if (document.body.clientWidth !== room) { room = document.body.clientWidth; redraw(); } }, 200);
  });
  const all = () => { queue = places.map((_, index) => index).filter((index) => !views[index]); return work(); };
  addEventListener("beforeprint", all);
  // Printing without a reader: light, every figure, everything unfolded.
  if (location.hash === "#print") {
    state.shade = "light";
    document.querySelectorAll("#summary details").forEach((part) => { part.open = true; });
  }
  // Points of a curve that a data set has: what is not measured of them is as in the curve's last row.
  const added = new Set();
  const extend = (rows, points) => {
    const { curve, step, value } = rows.columns;
    if (!curve || !curve.texts || !step || !value) return;
    const last = new Map(curve.values.map((text, row) => [curve.texts[text], row]));
    for (const point of points.filter((one) => last.has(one.curve))) {
      for (const [name, column] of Object.entries(rows.columns)) {
        column.values.push(name in point && !column.texts ? point[name] : column.values[last.get(point.curve)]);
      }
      rows.rows += 1;
    }
  };
  window.report = { views, mark, replace: (payload) => {
    // New numbers in the same figures; anything else is a new page.
    if (payload.figures.length !== figures.length) return false;
    ({ figures, light, dark, tokens } = payload);
    added.clear();
    redraw();
    return true;
  }, append: (points) => {
    const fresh = points.filter(({ curve, step }) => !added.has(`${step}|${curve}`));
    fresh.forEach(({ curve, step }) => added.add(`${step}|${curve}`));
    const last = fresh.reduce((end, { step }) => Math.max(end, step), 0);
    for (const figure of figures) {
      Object.values(figure.datasets).forEach((rows) => extend(rows, fresh));
      for (const one of figure.params || []) if (one.name === "to_step") one.value = Math.max(one.value, last);
    }
    if (fresh.length) redraw();
  } }; // for whoever looks closer in the console
  redraw();
  if (location.hash === "#print") { observer.disconnect(); all(); }
})();
