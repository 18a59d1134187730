// A brush on a photo. Stands in a function of drawing.py, which says what the names are.
const strokes = start.map((stroke) => ({ ...stroke }));
const context = canvas.getContext("2d"), photo = new Image();
const chosen = { brush: "thin", paint: "dark" };
for (const [kind, all] of [["brush", values.brushes], ["paint", values.paints]]) {
  for (const one of Object.keys(all)) {
    const label = document.createElement("label"), input = document.createElement("input");
    Object.assign(input, { type: "radio", name: `${whole.id}-${kind}` });
    input.checked = chosen[kind] === one;
    input.addEventListener("change", () => { chosen[kind] = one; });
    label.append(input, one);
    label.style.marginRight = "0.7em";
    whole.querySelector("span").append(label);
  }
  whole.querySelector("span").lastChild.style.marginRight = "2em";
}
const draw = () => {
  const { width, height } = canvas;
  context.drawImage(photo, 0, 0, width, height);
  context.lineCap = context.lineJoin = "round";
  for (const { paint, brush, points } of strokes) {
    context.strokeStyle = values.paints[paint];
    context.lineWidth = values.brushes[brush] * Math.max(width, height);
    context.beginPath();
    points.forEach(([x, y], place) => context[place ? "lineTo" : "moveTo"](x * width, y * height));
    if (points.length === 1) context.lineTo(points[0][0] * width, points[0][1] * height);
    context.stroke();
  }
};
let open = null, told = 0;
const changed = () => { draw(); told = Date.now(); tell(strokes); };
const rounded = (value) => Math.round(1e3 * Math.min(1, Math.max(0, value))) / 1e3;
const at = (event) => [rounded(event.offsetX / canvas.clientWidth),
                       rounded(event.offsetY / canvas.clientHeight)];
canvas.style.touchAction = "none";  // a finger paints, and does not scroll
canvas.addEventListener("pointerdown", (event) => {
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
  open = { ...chosen, points: [at(event)] };
  strokes.push(open);
  draw();
});
canvas.addEventListener("pointermove", (event) => {
  if (!open) return;
  open.points.push(at(event));
  if (Date.now() - told > 300) changed(); else draw();  // while the brush moves, map and score follow
});
for (const ended of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(ended, () => { if (open) { open = null; changed(); } });
}
const [chance, undo, clear] = whole.querySelectorAll("button");
chance.addEventListener("click", () => {
  let [x, y, turn] = [0.3 + 0.4 * Math.random(), 0.3 + 0.4 * Math.random(), 7 * Math.random()];
  const points = Array.from({ length: 6 }, () => {
    turn += Math.random() - 0.5;
    return [x, y] = [rounded(x + 0.05 * Math.cos(turn)), rounded(y + 0.05 * Math.sin(turn))];
  });
  strokes.push({ ...chosen, points });
  changed();
});
undo.addEventListener("click", () => { strokes.pop(); changed(); });
clear.addEventListener("click", () => { strokes.length = 0; changed(); });
photo.addEventListener("load", () => {
  Object.assign(canvas, { width: photo.naturalWidth, height: photo.naturalHeight });
  draw();
});
photo.src = source;
const beside = (tries) => {  // the row of the answer may come into the page later
  const row = document.querySelector(`.${whole.id}-row`);
  if (row) { whole.style.marginRight = "8px"; row.prepend(whole); }
  else if (tries) setTimeout(() => beside(tries - 1), 100);
};
beside(100);
