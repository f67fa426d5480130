"use strict";
// Draws each figure when it comes near the window; step axis, shade, brush and click act on all of them at once.
(() => {
  const { walk, fit, unpacked } = fitting;
  let { figures, light, dark, tokens } = JSON.parse(document.getElementById("specifications").textContent);
  const root = document.documentElement;
  let places = [...document.querySelectorAll(".plot")];
  const views = new Array(places.length).fill(null);
  const stale = new Set(); // figures to be drawn anew when they come near; what stands there stays until then
  const state = {
    shade: matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light", axis: "symlog",
    window: null, chosen: "", generation: 0,
  };
  const STEPS = new Set(["step", "first", "last", "lower", "upper", "onset", "midpoint", "completion", "left", "right"]);

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

  const specification = (index) => {
    const { datasets, ...rest } = figures[index];
    const spec = structuredClone(rest);
    spec.datasets = Object.fromEntries(Object.entries(datasets).map(([name, packed]) => [name, unpacked(packed)]));
    onAxis(spec, state.axis);
    return spec;
  };

  // What the reader chose in a figure, brush, legend and slider, is there again when it is drawn anew.
  const parameters = (spec) => {
    const found = [];
    walk(spec, (node) => { if (Array.isArray(node.params)) found.push(...node.params); });
    return found;
  };
  const keep = (spec, { view, chosen }) => {
    for (const one of parameters(spec)) {
      if (!(one.name in chosen)) continue;
      const value = view.signal(one.name);
      if (one.bind && !one.select) { if (value !== chosen[one.name]) one.value = value; continue; }
      if (!value || one.select.type === "interval") { if (value && value.step && state.window) one.value = { x: value.step }; continue; }
      const fields = (one.select.fields || []).filter((field) => Array.isArray(value[field]));
      if (fields.length) one.value = value[fields[0]].map((_, row) => Object.fromEntries(fields.map((field) => [field, value[field][row]])));
    }
  };
  const choices = (spec) => Object.fromEntries(parameters(spec)
    .filter(({ name, bind, select }) => bind || (select && /^(window|shown)_/.test(name))).map(({ name, value }) => [name, value]));

  const embed = async (place, index, factor, beside) => {
    const spec = specification(index), chosen = choices(spec);
    if (views[index]) keep(spec, views[index]);
    fit(spec, factor, beside, places[index].clientWidth);
    const config = { ...(state.shade === "dark" ? dark : light), background: "transparent" };
    const actions = { export: true, source: true, compiled: false, editor: false };
    return Object.assign(await vegaEmbed(place, spec, { config, actions, renderer: "canvas" }), { chosen });
  };

  // Whatever changes height above the line that the reader is at, the line stays where it is.
  const steady = (place, change) => {
    const above = (part) => part.getBoundingClientRect().bottom <= 0;
    const marks = place.getBoundingClientRect().top < 0 ? [...document.querySelectorAll("h2, h3, figcaption, summary, form")]
      .filter((part) => !above(part) && !place.contains(part)).map((part) => [part, part.getBoundingClientRect().top]) : [];
    const reading = !above(place); // the line is in what changes: it stays as far from the top as it is
    change();
    const mark = reading ? null : marks.find(([part]) => part.isConnected);
    if (mark) scrollBy({ top: mark[0].getBoundingClientRect().top - mark[1], behavior: "instant" });
  };

  const draw = async (index) => {
    const place = places[index], room = place.clientWidth, generation = state.generation;
    stale.delete(index); // whatever arrives while it is drawn makes it so again
    const sheet = Object.assign(document.createElement("div"), { className: views[index] ? "sheet unfinished" : "sheet" });
    place.append(sheet);
    const designed = figures[index].usermeta.width;
    let factor = Math.min(1.1, (room - 60) / designed);
    const { columns, beside: few } = figures[index].usermeta;
    const beside = columns > 1 && factor < 0.7 ? few || 1 : 0; // decided once, or a correction would undo it
    let result = await embed(sheet, index, factor, beside);
    const drawn = result.view.container().querySelector("canvas").clientWidth;
    // Labels and legends take room that is known only once they are drawn: correct once.
    if (drawn > room || (factor < 1.1 && drawn < room - 40)) {
      const corrected = Math.min(1.1, factor + (room - drawn - 4) / designed);
      if (Math.abs(corrected - factor) > 0.01 && corrected > 0.1) {
        const { width } = figures[index];
        if (width) await result.view.signal("width", Math.max(120, Math.round(width * corrected))).runAsync();
        else { result.finalize(); result = await embed(sheet, index, corrected, beside); }
      }
    }
    if (generation !== state.generation) { result.finalize(); sheet.remove(); return; }
    const before = views[index];
    views[index] = result;
    sheet.classList.remove("unfinished");
    place.classList.toggle("stale", stale.has(index));
    steady(place, () => { place.replaceChildren(sheet); place.style.minHeight = "0"; });
    if (before) before.finalize();
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
  let queue = [], drawing = false, busy = -1, everything = false;
  const MARGIN = 600; // pixels before and behind the window within which figures are drawn
  const away = (index) => {
    const { top, bottom } = places[index].getBoundingClientRect();
    return bottom < -MARGIN || top > innerHeight + MARGIN;
  };
  // A hidden page has no frames, and a printed one does not wait for them.
  const frame = () => new Promise((next) => { requestAnimationFrame(() => setTimeout(next, 0)); setTimeout(next, 50); });
  const distance = (index) => Math.abs(places[index].getBoundingClientRect().top - innerHeight / 3);
  const work = async () => {
    if (drawing) return;
    drawing = true;
    while (queue.length) {
      queue.sort((a, b) => distance(a) - distance(b));
      const index = busy = queue.shift();
      // Before any was drawn all were near each other; what the first ones have pushed away can wait.
      if (!everything && away(index)) { observer.unobserve(places[index]); observer.observe(places[index]); continue; }
      try { await draw(index); } catch (error) {
        places[index].textContent = `This figure could not be drawn: ${error.message}`;
        console.error(error);
      }
      await frame(); // for the reader to see it before the next one takes the page's time
    }
    drawing = everything = false;
    busy = -1;
  };
  const observer = new IntersectionObserver((entries) => {
    const near = entries.filter((entry) => entry.isIntersecting).map((entry) => entry.target);
    near.forEach((place) => { observer.unobserve(place); queue.push(places.indexOf(place)); });
    queue = queue.filter((index) => index >= 0);
    work();
  }, { rootMargin: `${MARGIN}px` });
  const later = (index) => { stale.add(index); places[index].classList.add("stale"); observer.unobserve(places[index]); observer.observe(places[index]); };
  const redraw = () => {
    root.dataset.shade = state.shade;
    state.generation += 1;
    queue = [];
    places.forEach((_, index) => later(index));
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
  const all = () => { everything = true; queue = places.map((_, index) => index).filter((index) => stale.has(index)); return work(); };
  addEventListener("beforeprint", all);
  // Printing without a reader: light, every figure, everything unfolded.
  if (location.hash === "#print") {
    state.shade = "light";
    const long = (part) => part.querySelectorAll("tr").length > 60; // these are for the store
    document.querySelectorAll("main details").forEach((part) => { part.open = !long(part); });
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
  // New points in a figure that is seen; one that is not is drawn anew when it comes near.
  const refresh = (index) => {
    const { view, ends } = views[index], { datasets, params = [] } = specification(index);
    try { Object.entries(datasets).forEach(([name, rows]) => view.data(name, rows)); } catch { later(index); return; }
    const last = params.find(({ name }) => name === "to_step");
    if (last && ends) ends[1] = last.value;
    else if (last) view.signal("to_step", last.value);
    apply(views[index]);
    view.runAsync();
  };
  const append = (points) => {
    const fresh = points.filter(({ curve, step }) => !added.has(`${step}|${curve}`));
    if (!fresh.length) return;
    fresh.forEach(({ curve, step }) => added.add(`${step}|${curve}`));
    const last = fresh.reduce((end, { step }) => Math.max(end, step), 0);
    figures.forEach((figure, index) => {
      Object.values(figure.datasets).forEach((rows) => extend(rows, fresh));
      for (const one of figure.params || []) if (one.name === "to_step") one.value = Math.max(one.value, last);
      const { top, bottom } = places[index].getBoundingClientRect();
      if (views[index] && !stale.has(index) && index !== busy && bottom > -200 && top < innerHeight + 200) refresh(index); else later(index);
    });
  };
  // Other numbers, and maybe other figures, whose places then stand in the page already.
  const replace = (payload) => {
    const before = new Map(figures.map(({ usermeta }, index) => [usermeta.name, [places[index], views[index]]]));
    ({ figures, light, dark, tokens } = payload);
    added.clear();
    places = [...document.querySelectorAll(".plot")];
    views.length = 0;
    figures.forEach(({ usermeta }, index) => {
      const [place, view] = before.get(usermeta.name) || [places[index], null];
      before.delete(usermeta.name);
      if (place !== places[index]) { places[index].replaceWith(place); places[index] = place; }
      views.push(view);
    });
    before.forEach(([, view]) => view && view.finalize());
    redraw();
  };
  window.report = { views, stale, mark, steady, append, replace }; // for the live page, and the console
  redraw();
  if (location.hash === "#print") { observer.disconnect(); all(); }
})();
