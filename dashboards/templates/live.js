"use strict";
// Follows the run: asks twice a second whether the store has changed. New points go into the figures that are there;
// the server draws them anew behind, with what must be read from all points, and then they are replaced.
(() => {
  const pulse = document.getElementById("pulse");
  const followed = document.getElementById("followed");
  let seen = pulse.dataset.stamp, drawn = seen, told = "";
  const look = async () => {
    try {
      const now = await (await fetch("stamp")).json();
      if (now.drawn && now.drawn !== drawn) {
        const fresh = await (await fetch("payload")).json();
        if (!report.replace(fresh.payload)) { location.reload(); return; }
        document.getElementById("summary").innerHTML = fresh.summary; // made and escaped by the server's template
        document.getElementById("facts").replaceChildren(...fresh.facts.map((fact) => Object.assign(document.createElement("span"), { textContent: fact })));
        document.querySelectorAll("figcaption .said").forEach((place, index) => { place.textContent = fresh.captions[index]; });
        seen = drawn = fresh.stamp;
      }
      if (now.stamp !== seen) {
        report.append(await (await fetch("points")).json());
        seen = now.stamp;
      }
      if (now.followed !== told) {
        followed.innerHTML = told = now.followed; // as the summary
        followed.hidden = !told;
      }
      pulse.textContent = now.note || "live";
    } catch (error) { pulse.textContent = "no answer from the server"; }
    setTimeout(look, 500);
  };
  look();

  const cells = (row, kind) => {
    const line = document.createElement("tr");
    line.append(...row.map((value) => Object.assign(document.createElement(kind), { textContent: value === null ? "NULL" : String(value) })));
    return line;
  };
  document.getElementById("query").addEventListener("submit", async (event) => {
    event.preventDefault();
    const refused = document.getElementById("refused"), table = document.getElementById("answer");
    refused.textContent = "asking …";
    refused.className = "note";
    table.replaceChildren();
    const reply = await fetch("query", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ sql: event.target.elements.sql.value }),
    });
    const answer = await reply.json();
    refused.className = answer.error ? "doubt" : "note";
    const counted = `${answer.error ? 0 : answer.rows.length} row${answer.rows?.length === 1 ? "" : "s"}`;
    refused.textContent = answer.error || (answer.more ? `the first ${counted}; there are more` : counted);
    if (!answer.error) table.append(cells(answer.columns, "th"), ...answer.rows.map((row) => cells(row, "td")));
  });
})();
