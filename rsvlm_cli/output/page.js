
"use strict";
// The map is one SVG in the raster's pixels, so every place is told by its viewBox alone.
const element = (id) => document.getElementById(id);
const view = JSON.parse(element("view").textContent);
const map = element("map"), swipe = element("swipe"), marked = element("marked"), divider = element("divider");
const [x1, y1, x2, y2] = view.area_px;
let seen = { x: x1, y: y1, width: x2 - x1, height: y2 - y1 };

function set(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
}

function look(box) {
  const width = Math.min(Math.max(box.width, 2), 4 * (x2 - x1));
  seen = { x: box.x, y: box.y, width, height: (width * box.height) / box.width };
  set(map, { viewBox: `${seen.x} ${seen.y} ${seen.width} ${seen.height}` });
  draw();
}

function draw() {
  const matrix = map.getScreenCTM();
  if (!matrix) return;
  const frame = map.getBoundingClientRect(), side = frame.width / matrix.a;
  const left = (frame.left - matrix.e) / matrix.a, top = (frame.top - matrix.f) / matrix.d;
  const height = frame.height / matrix.d;
  if (swipe) {
    const x = left + (side * swipe.value) / 1000;
    set(element("right-part"), { x, y: top, width: Math.max(0, left + side - x), height });
    set(divider, { x1: x, x2: x, y1: top, y2: top + height });
  }
  if (view.gsd_m) drawScale(matrix.a / view.gsd_m);
}

function drawScale(screenPerMetre) {
  const power = 10 ** Math.floor(Math.log10(180 / screenPerMetre));
  const length = Math.max(...[1, 2, 5].map((k) => k * power).filter((m) => m * screenPerMetre <= 180));
  const scale = element("scale"), width = length * screenPerMetre;
  scale.removeAttribute("hidden");
  scale.querySelector("path").setAttribute("d", `M1 14v6h${width}v-6`);
  scale.querySelector("text").textContent = length >= 1000 ? `${length / 1000} km` : `${+length.toPrecision(1)} m`;
}

function pixelAt(event) {
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(map.getScreenCTM().inverse());
  return [point.x, point.y];
}

// Directions from the Earth's middle are given on a grid that is fine enough to go straight between its nodes.
function lonlatAt(x, y) {
  const grid = view.directions, n = grid.length - 1;
  const u = (n * (x - x1)) / (x2 - x1), v = (n * (y - y1)) / (y2 - y1);
  const i = Math.min(Math.floor(u), n - 1), j = Math.min(Math.floor(v), n - 1);
  const mix = (a, b, share) => a.map((value, k) => value + (b[k] - value) * share);
  const [east, north, up] = mix(
    mix(grid[j][i], grid[j][i + 1], u - i), mix(grid[j + 1][i], grid[j + 1][i + 1], u - i), v - j);
  return [Math.atan2(north, east), Math.atan2(up, Math.hypot(east, north))].map((angle) => (angle * 180) / Math.PI);
}

function tellPlace(event) {
  const [x, y] = pixelAt(event);
  if (x < x1 || x > x2 || y < y1 || y > y2) {
    element("pointer").textContent = "outside the window";
    return;
  }
  const parts = [`pixel ${x.toFixed(1)}, ${y.toFixed(1)}`];
  if (view.transform) {
    const [a, b, c, d, e, f] = view.transform;
    const mapped = [a * x + b * y + c, d * x + e * y + f].map((value) => value.toFixed(view.crs_decimals));
    parts.push(`${view.crs} ${mapped.join(", ")}`);
  }
  if (view.directions) {
    const [lon, lat] = lonlatAt(x, y).map((value) => value.toFixed(view.lonlat_decimals));
    parts.push(`lon ${lon}, lat ${lat}`);
  }
  element("pointer").textContent = parts.join("   ");
}

function zoom(factor, x = seen.x + seen.width / 2, y = seen.y + seen.height / 2) {
  const { x: left, y: top, width, height } = seen;
  look({ x: x - (x - left) * factor, y: y - (y - top) * factor, width: width * factor, height: height * factor });
}

let grip = null;
map.addEventListener("pointerdown", (event) => {
  grip = { at: pixelAt(event), screen: [event.clientX, event.clientY] };
});
map.addEventListener("pointermove", (event) => {
  if (grip && event.buttons) {
    map.classList.add("dragged");
    const [x, y] = pixelAt(event);
    look({ ...seen, x: seen.x + grip.at[0] - x, y: seen.y + grip.at[1] - y });
  }
  tellPlace(event);
});
window.addEventListener("pointerup", () => {
  grip = null;
  map.classList.remove("dragged");
});
map.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(event.deltaY > 0 ? 1.25 : 0.8, ...pixelAt(event));
}, { passive: false });
element("zoom-in").addEventListener("click", () => zoom(0.5));
element("zoom-out").addEventListener("click", () => zoom(2));
element("zoom-all").addEventListener("click", () => look({ x: x1, y: y1, width: x2 - x1, height: y2 - y1 }));
window.addEventListener("resize", draw);

if (swipe) {
  swipe.addEventListener("input", draw);
  const dates = [...element("dates").children], left = element("left"), right = element("right");
  const showDates = () => {
    for (const [k, image] of dates.entries()) {
      set(image, { display: k == left.value || k == right.value ? "inline" : "none" });
      image.removeAttribute("clip-path");
    }
    dates[right.value].setAttribute("clip-path", "url(#clip)");
    element("dates").append(dates[right.value]);
  };
  left.addEventListener("change", showDates);
  right.addEventListener("change", showDates);
  showDates();
}

for (const box of document.querySelectorAll("input[data-layer]")) {
  const layer = element(box.dataset.layer);
  box.addEventListener("change", () => set(layer, { display: box.checked ? "inline" : "none" }));
}
element("opacity")?.addEventListener("input", (event) => {
  for (const mask of document.querySelectorAll(".mask")) mask.style.opacity = event.target.value / 100;
});

function mark(row) {
  for (const other of document.querySelectorAll("tr.chosen")) other.classList.remove("chosen");
  row.classList.add("chosen");
  const [left, top, right, bottom] = row.dataset.box.split(",").map(Number);
  set(marked, { x: left, y: top, width: right - left, height: bottom - top });
  return [left, top, right, bottom];
}

document.addEventListener("click", (event) => {
  const row = event.target.closest("tr[data-box]"), heading = event.target.closest("th button");
  if (heading) return sort(heading.parentElement);
  if (row) {
    const [left, top, right, bottom] = mark(row);
    const side = 3 * Math.max(right - left, bottom - top, 8);
    if (side < x2 - x1) look({ x: (left + right - side) / 2, y: (top + bottom - side) / 2, width: side, height: side });
  } else if (event.target.dataset?.row) {
    const chosen = element(event.target.dataset.row);
    if (chosen) mark(chosen);
    chosen?.scrollIntoView({ block: "nearest" });
  }
});

function sort(heading) {
  const ascending = heading.getAttribute("aria-sort") !== "ascending";
  const rows = [...heading.closest("table").tBodies[0].rows], column = heading.cellIndex;
  for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const text = (row) => row.cells[column].textContent;
  const number = (row) => (text(row) === "" ? -Infinity : Number(text(row)));
  const order = rows.some((row) => Number.isNaN(number(row)))
    ? (a, b) => text(a).localeCompare(text(b), "en", { numeric: true })
    : (a, b) => number(a) - number(b) || 0;
  rows.sort((a, b) => (ascending ? order(a, b) : order(b, a)));
  heading.closest("table").tBodies[0].append(...rows);
}

draw();
