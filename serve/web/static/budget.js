// A slider along the points of the curve; without scripts the table says the same.
const box = document.getElementById("slider"), slider = document.getElementById("along");
const budget = document.getElementById("budget"), plot = document.querySelector("svg.plot");
const points = JSON.parse(box.dataset.points), last = points[points.length - 1][0] || 1;
const format = [2, 0, 0, 1, 2].map((digits) => new Intl.NumberFormat(undefined, { minimumFractionDigits: digits, maximumFractionDigits: digits }));
const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
line.setAttribute("class", "level");
line.setAttribute("y2", "100%");
plot?.append(line);

function move() {
  const point = points[slider.value], texts = point.map((value, i) => format[i].format(value));
  for (const fact of box.querySelectorAll("[data-fact]")) fact.textContent = texts[fact.dataset.fact];
  const first = points[0][0], at = `${last > first ? (100 * (point[0] - first)) / (last - first) : 0}%`;
  line.setAttribute("x1", at);
  line.setAttribute("x2", at);
  slider.setAttribute("aria-valuetext", `budget ${texts[0]}, expected profit ${texts[4]}`);
  if (budget) budget.value = point[0];
}
slider.addEventListener("input", move);
box.hidden = false;
move();
