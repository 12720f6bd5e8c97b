"use strict";

// Filters: a board is shown if it fits and any of its rows does.
const field = name => document.getElementById(`filter-${name}`);
const board = field("board"), distortion = field("distortion"), tier = field("tier"), text = field("text");

function filter() {
  const words = text.value.trim().toLowerCase();
  let any = false;
  for (const section of document.querySelectorAll(".board")) {
    let shown = 0;
    for (const row of section.querySelectorAll("tbody tr")) {
      const named = `${row.cells[1].textContent} ${row.lastElementChild.textContent}`.toLowerCase();
      row.hidden = +row.dataset.tier < +tier.value || !named.includes(words);
      shown += !row.hidden;
    }
    const fits = (!board.value || section.dataset.benchmark === board.value)
      && (!distortion.value || section.dataset.distortion === distortion.value);
    section.hidden = !fits || !shown;
    any ||= !section.hidden;
  }
  document.getElementById("none").hidden = any;
}

for (const input of [board, distortion, tier]) input.addEventListener("change", filter);
text.addEventListener("input", filter);
document.getElementById("filters").hidden = false;
filter(); // a browser keeps what was chosen before

// A click on a head sorts by it, a second click the other way round; what has no value stays last. The buttons are made
// here: without scripts they would do nothing.
for (const table of document.querySelectorAll(".board table")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const known = [...body.rows].filter(row => value(row) !== "");
      const numeric = known.every(row => isFinite(value(row)));
      const order = (a, b) => numeric ? value(a) - value(b) : value(a).localeCompare(value(b));
      const unknown = [...body.rows].filter(row => value(row) === "");
      body.append(...known.sort((a, b) => down ? order(b, a) : order(a, b)), ...unknown);
    });
  });
}
