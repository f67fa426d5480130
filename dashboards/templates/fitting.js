"use strict";
// A figure's specification made ready for the room that it has.
const fitting = (() => {
  const NARROW = 480, MIN = 60; // pixels: of a page with little room for names; of a plot at least

  const walk = (node, visit) => {
    if (Array.isArray(node)) { node.forEach((part) => walk(part, visit)); return; }
    if (!node || typeof node !== "object") return;
    visit(node);
    for (const [name, part] of Object.entries(node)) if (name !== "datasets") walk(part, visit);
  };

  // About as many letters of a title in a line as fit.
  const lines = (text, width) => {
    const most = Math.max(12, Math.floor(width / 6.7)), found = [];
    for (const word of text.split(" ")) {
      const last = found.length - 1;
      if (last >= 0 && found[last].length + word.length < most) found[last] += ` ${word}`;
      else found.push(word);
    }
    return found.length > 1 ? found : text;
  };
  const entitle = (node, room) => {
    const told = node.title.text ? node.title : { text: node.title };
    const text = lines([].concat(told.text).join(" "), told.frame === "bounds" ? room : Math.min(node.width + 50, room - 50));
    node.title = { ...told, text, limit: room - 30 };
  };

  // Widths are designed for a desk; a narrow window gets narrower plots, and fewer of them (`beside`) beside each other.
  const fit = (spec, factor, beside, room) => {
    const columns = spec.usermeta.columns || 1;
    for (const one of spec.params || []) if (one.name === "narrow") one.value = room < NARROW;
    walk(spec, (node) => {
      if (beside && node.concat && node.columns) node.columns = beside;
      if (typeof node.width === "number" && (node.mark || node.layer)) {
        node.width = Math.max(MIN, Math.round(node.width * factor * (beside ? columns / beside : 1)));
        if (spec.usermeta.square) node.height = node.width;
        if (node.title) entitle(node, room);
      }
      // What does not shrink with the plot: names at the left, and legends of many columns.
      if (node.axis && node.axis.labelLimit) node.axis.labelLimit = Math.min(node.axis.labelLimit, 0.5 * room);
      if (node.axis && node.axis.minExtent) node.axis.minExtent = Math.min(node.axis.minExtent, 0.3 * room);
      if (node.legend && node.legend.columns) {
        node.legend.columns = Math.max(1, Math.min(node.legend.columns, Math.floor(room / 160)));
        node.legend.labelLimit = Math.min(node.legend.labelLimit || 220, room / node.legend.columns - 40);
      }
    });
  };

  const unpacked = ({ rows, columns }) => {
    const names = Object.keys(columns);
    return Array.from({ length: rows }, (_, row) => Object.fromEntries(names.map((name) => {
      const { texts, values } = columns[name];
      return [name, texts ? texts[values[row]] : values[row]];
    })));
  };

  return { walk, fit, unpacked };
})();
