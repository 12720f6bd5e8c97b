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
