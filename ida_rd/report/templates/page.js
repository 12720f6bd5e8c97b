"use strict";

// Times: a picture outside this folder, asked for only when somebody wants to see it.
const times = document.getElementById("times");
times.addEventListener("toggle", () => {
  if (!times.open || times.querySelector(".scroll")) return;
  const frame = document.createElement("div"), picture = new Image();
  frame.className = "scroll";
  picture.alt = "Table of what each stage took; .ida-rd/times.md has the same as text";
  picture.addEventListener("error", () => frame.replaceChildren("The times are not here: they stayed with the run."));
  frame.append(picture);
  times.append(frame);
  picture.src = times.dataset.times;
});

// Tables: a click on a head sorts by it, a second click the other way round.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const body = table.tBodies[0];
      const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const numeric = [...body.rows].every(row => value(row) !== "" && isFinite(value(row)));
      const order = (a, b) => numeric ? value(a) - value(b) : value(a).localeCompare(value(b));
      body.append(...[...body.rows].sort((a, b) => down ? order(b, a) : order(a, b)));
    });
  });
}

// The image browser.
const data = JSON.parse(document.getElementById("browser-data").textContent);
const browser = document.getElementById("browser");
const choose = Object.fromEntries(["image", "cell", "downscaler", "sample"].map(
  name => [name, document.getElementById(`choose-${name}`)]));
const cellOf = branch => `${branch.upscaler}, ×${branch.factor}`;
const fill = (select, names, kept) => {
  select.replaceChildren(...names.map((name, i) => new Option(name, i)));
  const at = names.indexOf(kept);
  select.value = at < 0 ? 0 : at;
  select.closest("label").hidden = select.id === "choose-cell" && names.length < 2;
};
const text = select => select.selectedOptions[0]?.textContent;
const cells = [...new Set(data.branches.map(cellOf))];
const inCell = () => data.branches.filter(branch => cellOf(branch) === text(choose.cell));
const branch = () => inCell()[choose.downscaler.value];

function show() {
  const current = branch(), number = data.branches.indexOf(current), image = choose.image.value;
  const samples = current.values[image] ?? {};
  fill(choose.sample, Object.keys(samples).map(k => `${+k + 1}`), text(choose.sample));
  const shown = text(choose.sample);
  const folder = `images/${image}`;
  const sr = shown === undefined ? "" : `${folder}/${number}-${shown - 1}.webp`;
  const sources = { hr: `${folder}/hr.png`, lr: `${folder}/${number}-lr.png`, sr };
  for (const picture of browser.querySelectorAll("img[data-shows]")) {
    const source = sources[picture.dataset.shows];
    picture.hidden = !source;
    if (source && picture.getAttribute("src") !== source) picture.src = source;
  }
  const values = samples[shown - 1];
  const name = `${data.images[image]}, ${current.downscaler}, ${cellOf(current)}`;
  document.getElementById("shown").textContent = values === undefined
    ? `${name}: no sample was finite`
    : `${name}, sample ${shown}: ` + values.map(
      (v, i) => `${data.labels[i]} ${Math.abs(v) >= 10 ? v.toFixed(2) : v.toFixed(4)}`).join(", ");
}

fill(choose.image, data.images);
fill(choose.cell, cells);
const downscalers = () => fill(choose.downscaler, inCell().map(b => b.downscaler), text(choose.downscaler));
downscalers();
choose.cell.addEventListener("change", downscalers);
for (const select of Object.values(choose)) select.addEventListener("change", show);

// Keys: arrows left and right for the image, up and down for the downscaler, a digit for the sample.
const step = (select, by) => {
  const count = select.options.length;
  select.value = (+select.value + by + count) % count;
};
browser.addEventListener("keydown", event => {
  if (event.target !== browser || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "ArrowRight") step(choose.image, 1);
  else if (event.key === "ArrowLeft") step(choose.image, -1);
  else if (event.key === "ArrowDown") step(choose.downscaler, 1);
  else if (event.key === "ArrowUp") step(choose.downscaler, -1);
  else if (event.key >= "1" && event.key <= `${choose.sample.options.length}`) choose.sample.value = event.key - 1;
  else return;
  event.preventDefault();
  show();
});

const swipe = document.getElementById("swipe");
const place = () => swipe.closest(".swipe").style.setProperty("--at", `${swipe.value}%`);
swipe.addEventListener("input", place);
const pane = swipe.closest(".swipe").querySelector(".pane");
const drag = event => {
  if (event.type === "pointermove" && !event.buttons) return;
  const box = pane.getBoundingClientRect();
  swipe.value = Math.round(100 * (event.clientX - box.left) / box.width);
  place();
};
for (const name of ["pointerdown", "pointermove"]) pane.addEventListener(name, drag);
pane.addEventListener("dragstart", event => event.preventDefault());
place();
show();
browser.hidden = false;
