"use strict";
// Follows the run: asks twice a second whether the store has changed. New points go into the figures that are there;
// the server draws them anew behind, with what must be read from all points, and then they are replaced. Whatever
// arrives, the reader stays at the line that they read, and what they had unfolded stays so.
(() => {
  const EVERY = 500, HIDDEN = 3000; // milliseconds; nobody reads a page behind others
  const pulse = document.getElementById("pulse");
  let seen = pulse.dataset.stamp, drawn = seen;
  const shown = {}; // the HTML last put into each section

  // Numbers change while a run goes on: what is folded is known by its words.
  const label = (fold) => fold.querySelector("summary").textContent.replace(/[\d.,]+/g, "");
  const folds = (place) => [...place.querySelectorAll("details")].filter((fold) => fold.querySelector("summary"));
  const put = (name, html) => {
    if (shown[name] === html) return;
    shown[name] = html;
    const place = document.getElementById(name);
    report.steady(place, () => {
      const open = new Map(folds(place).map((fold) => [label(fold), fold.open]));
      const focus = folds(place).find((fold) => fold.querySelector("summary") === document.activeElement);
      place.innerHTML = html; // made and escaped by the server's template
      for (const fold of folds(place)) {
        fold.open = open.get(label(fold)) ?? fold.open;
        if (focus && label(focus) === label(fold)) fold.querySelector("summary").focus({ preventScroll: true });
      }
    });
  };
  const figures = (html) => {
    const fresh = document.createElement("template");
    fresh.innerHTML = html;
    const names = (root) => [...root.querySelectorAll("figure h3")].map((title) => title.textContent).join("\n");
    const place = document.getElementById("figures");
    if (names(fresh.content) !== names(place)) { report.steady(place, () => place.replaceChildren(fresh.content)); return; }
    const captions = [...fresh.content.querySelectorAll("figcaption")];
    place.querySelectorAll("figcaption").forEach((caption, index) => {
      if (caption.innerHTML !== captions[index].innerHTML) caption.innerHTML = captions[index].innerHTML;
    });
  };
  const answered = async (address) => {
    const reply = await fetch(address);
    if (reply.ok) return reply.json();
    throw new Error(reply.status === 401 ? "the server was started anew: open the address that it printed"
      : (await reply.json()).error);
  };
  const say = (text) => { if (pulse.textContent !== text) pulse.textContent = text; };

  const look = async () => {
    try {
      const now = await answered("stamp");
      if (now.drawn && now.drawn !== drawn) {
        const { payload, sections, stamp } = await answered("payload");
        for (const [name, html] of Object.entries(sections)) if (name === "figures") figures(html); else put(name, html);
        report.replace(payload);
        seen = drawn = stamp;
      }
      if (now.stamp !== seen) {
        report.append(await answered("points"));
        seen = now.stamp;
      }
      put("followed", now.followed);
      document.getElementById("followed").hidden = !now.followed;
      say(now.state);
    } catch (error) { say(error instanceof TypeError ? "no answer from the server" : error.message); }
    setTimeout(look, document.hidden ? HIDDEN : EVERY);
  };
  look();

  const cells = (row, kind) => {
    const line = document.createElement("tr");
    line.append(...row.map((value) => Object.assign(document.createElement(kind), { textContent: value === null ? "NULL" : String(value) })));
    return line;
  };
  const form = document.getElementById("query"), refused = document.getElementById("refused");
  const table = document.getElementById("answer"), button = form.querySelector("button");
  const tell = (text, kind) => { refused.textContent = text; refused.className = kind; };
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); form.requestSubmit(); }
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    tell("asking …", "note");
    button.disabled = true;
    table.replaceChildren();
    try {
      const reply = await fetch("query", {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ sql: form.elements.sql.value }),
      });
      const answer = await reply.json();
      if (answer.error) tell(answer.error, "doubt failed");
      else {
        const counted = `${answer.rows.length.toLocaleString("en")} row${answer.rows.length === 1 ? "" : "s"}`;
        tell(answer.more ? `the first ${counted}; there are more` : counted, "note");
        table.append(cells(answer.columns, "th"), ...answer.rows.map((row) => cells(row, "td")));
      }
    } catch { tell("no answer from the server", "doubt"); }
    button.disabled = false;
  });
})();
