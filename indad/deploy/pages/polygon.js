"use strict";
// Polygons drawn on a photo with a mouse, a finger or the keyboard. The serve page and notebooks share it.
const regionDrawing = (canvas, changed, start = []) => {
  const polygons = start.map((polygon) => polygon.map((point) => [...point]));
  let open = [];      // the polygon that is being drawn, in fractions of width and height
  let photo = null;
  const context = canvas.getContext("2d");
  const trace = (points) => {
    context.beginPath();
    points.forEach(([x, y], place) => context[place ? "lineTo" : "moveTo"](x * canvas.width, y * canvas.height));
  };
  const draw = () => {
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (photo) context.drawImage(photo, 0, 0, canvas.width, canvas.height);
    if (polygons.length) {  // what is not looked at is dark
      const shade = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
      const dark = shade.getContext("2d");
      dark.fillStyle = "rgba(0, 0, 0, 0.6)";
      dark.fillRect(0, 0, shade.width, shade.height);
      dark.globalCompositeOperation = "destination-out";
      dark.fillStyle = "#000";
      for (const polygon of polygons) {
        dark.beginPath();
        polygon.forEach(([x, y], place) => dark[place ? "lineTo" : "moveTo"](x * shade.width, y * shade.height));
        dark.fill();
      }
      context.drawImage(shade, 0, 0);
    }
    context.lineWidth = Math.max(2, canvas.width / 250);
    context.strokeStyle = "#00ffff";
    for (const polygon of polygons) { trace(polygon); context.closePath(); context.stroke(); }
    trace(open);
    context.stroke();
    context.fillStyle = "#00ffff";
    for (const [x, y] of open) {
      context.beginPath();
      context.arc(x * canvas.width, y * canvas.height, 2 * context.lineWidth, 0, 7);
      context.fill();
    }
  };
  const told = () => { draw(); changed(polygons, open); };
  const rounded = (value) => Math.round(1e4 * Math.min(1, Math.max(0, value))) / 1e4;
  const close = () => {
    if (open.length > 2) { polygons.push(open); open = []; told(); }
  };
  canvas.addEventListener("click", (event) => {
    const [wide, high] = [canvas.clientWidth, canvas.clientHeight];  // offsets are within the border
    const point = [rounded(event.offsetX / wide), rounded(event.offsetY / high)];
    const [first] = open;
    const near = first && Math.hypot((point[0] - first[0]) * wide, (point[1] - first[1]) * high) < 10;
    if (near && open.length > 2) { close(); return; }
    if (!near) open.push(point);
    told();
  });
  canvas.addEventListener("keydown", (event) => {
    if (event.key === "Enter") { event.preventDefault(); close(); }
    if (event.key === "Backspace") { event.preventDefault(); undo(); }
  });
  const undo = () => {
    if (open.length) open.pop(); else polygons.pop();
    told();
  };
  const clear = () => { polygons.length = 0; open = []; told(); };
  const over = (source) => {  // a photo, as an address
    const image = new Image();
    image.addEventListener("load", () => {
      photo = image;
      Object.assign(canvas, { width: image.naturalWidth, height: image.naturalHeight });
      told();
    });
    image.src = source;
  };
  return { over, close, undo, clear, draw };
};
// As --region takes them.
const regionText = (polygons) => polygons.map((polygon) => polygon.map(([x, y]) => `${x},${y}`).join(" ")).join(";");
