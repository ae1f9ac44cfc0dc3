"use strict";
// The page's behaviour: charts follow the width, the colours and the printer; tables sort; details unfold.

const charts = new Map(DATA.charts.map((spec) => [document.getElementById(`chart-${spec.id}`), spec]));
const drawn = new Map();
const look = () => `${matchMedia("(prefers-color-scheme: dark)").matches} ${"print" in document.documentElement.dataset}`;

function refresh() {
  if (typeof Plotly === "undefined") {  // a page that shares its library, moved without it
    for (const element of charts.keys()) element.textContent = "Put plotly.min.js beside this page to see the chart.";
    return;
  }
  for (const [element, spec] of charts) {
    const now = `${element.clientWidth} ${look()}`;
    if (!element.closest("details:not([open])") && drawn.get(element) !== now) {
      drawn.set(element, now);
      draw(spec, element);
    }
  }
}

new ResizeObserver(refresh).observe(document.querySelector("main"));
document.addEventListener("toggle", refresh, true);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", refresh);
addEventListener("beforeprint", () => { document.documentElement.dataset.print = ""; refresh(); });
addEventListener("afterprint", () => { delete document.documentElement.dataset.print; refresh(); });

/* Sorts the table by a column: numbers by size, words by the alphabet, missing values always last. */
function sortBy(table, column, way) {
  const sign = way === "ascending" ? 1 : -1;
  const rows = [...table.tBodies[0].rows].map((row) => [JSON.parse(row.dataset.sort)[column], row]);
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
  });
  table.tBodies[0].append(...rows.map(([, row]) => row));
  [...table.tHead.rows[0].cells].forEach((cell, i) => cell.setAttribute("aria-sort", i === column ? way : "none"));
}

for (const table of document.querySelectorAll("table.sortable")) {
  table.tHead.addEventListener("click", (event) => {
    const cell = event.target.closest("th");
    if (!event.target.closest("button")) return;
    const way = cell.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    sortBy(table, cell.cellIndex, way);
    document.getElementById("said").textContent = `Sorted by ${cell.textContent.trim()}, ${way}.`;
  });
}

const details = [...document.querySelectorAll("details.part")];
const unfold = document.getElementById("unfold");
function unfoldAll(open) {
  details.forEach((d) => { d.open = open; });
  unfold.textContent = open ? "Fold all" : "Unfold all";
  unfold.setAttribute("aria-expanded", String(open));
}
unfold.addEventListener("click", () => unfoldAll(unfold.getAttribute("aria-expanded") !== "true"));

/* report.html#latency opens that part, report.html#all every part: links may point into the folded page. */
function follow() {
  const part = location.hash.slice(1);
  if (part === "all") unfoldAll(true);
  const found = details.find((d) => d.id === part);
  if (found) { found.open = true; found.scrollIntoView(); }
}
addEventListener("hashchange", follow);
follow();
refresh();
