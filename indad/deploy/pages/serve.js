"use strict";
// Everything that changes with a threshold happens here; the server only scores.
const KEPT = 50;  // results in the page; older ones go
const CYAN = [0, 255, 255, 255];
const $ = (id) => document.getElementById(id);
const short = (value) => Number(value.toPrecision(4)).toString();
const percent = (value) => `${(100 * value).toFixed(1)} %`;
const results = [];  // newest first: {name, card, answer}
const limits = { score: null, map: null };
let model = null;

const make = (name, text) => Object.assign(document.createElement(name), { textContent: text });
const svg = (name, attributes) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
};

const json = async (response) => {
  const answer = await response.json().catch(() => ({ error: `the server answered ${response.status}` }));
  if (!response.ok) throw new Error(answer.error);
  return answer;
};

// One image after the other, in the order they came.
let queue = Promise.resolve();
const add = (files) => {
  for (const file of files) {
    const card = $("card").content.firstElementChild.cloneNode(true);
    const result = { name: file.name || "picture", card, answer: null };
    card.querySelector("h3").textContent = result.name;
    $("results").prepend(card);
    results.unshift(result);
    for (const old of results.splice(KEPT)) old.card.remove();
    queue = queue.then(() => judge(result, file)).then(count);
  }
};

const judge = async (result, file) => {
  try {
    if (file.size > model.max_bytes) throw new Error(`the file is larger than ${model.max_bytes >> 20} MB`);
    const answer = await json(await fetch("judge", {
      method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } }));
    const bytes = Uint8Array.from(atob(answer.map.values), (letter) => letter.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    const span = (answer.map.high - answer.map.low) / 65535;
    answer.values = Float32Array.from({ length: bytes.length / 2 },
      (_, place) => answer.map.low + span * view.getUint16(2 * place, true));
    delete answer.map;
    result.answer = answer;
    fill(result);
    stretch();
  } catch (error) {
    const chip = result.card.querySelector(".chip");
    chip.textContent = "not judged";
    const words = result.card.querySelector(".warning");
    words.textContent = error.message;
    words.hidden = false;
  }
};

// What does not depend on a threshold.
const fill = ({ name, card, answer }) => {
  const { width, height, patch } = answer;
  card.querySelector(".photo").src = answer.photo;
  card.querySelector(".photo").alt = `${name}, the photo`;
  card.querySelector(".heat").src = answer.heat;
  card.querySelector(".heat").alt = `${name} under its heat map`;
  card.querySelector(".why img").src = answer.why;
  card.querySelector(".why img").alt = `${name}: the worst patch beside the nearest remembered one`;
  const [left, top, right, bottom] = patch.box;
  const box = card.querySelector(".box");
  box.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const frame = box.firstElementChild;
  for (const [key, value] of Object.entries({ x: left, y: top, width: right - left, height: bottom - top })) {
    frame.setAttribute(key, value);
  }
  Object.assign(card.querySelector("canvas"), { width, height });
  const facts = [["score", ""], ["rank", answer.rank === null ? "the model was not calibrated"
    : `${short(answer.rank)}: ${asHigh(answer.score)} of ${model.good_scores.length} good training images score as high`],
  ["worst patch", `row ${patch.place[0] + 1}, column ${patch.place[1] + 1} of ${model.grid.join(" × ")}; `
    + `${short(patch.distance)} from the nearest patch that is remembered`],
  ["nearest to it", `training image ${patch.train_image + 1}`
    + (patch.train_place ? `, row ${patch.train_place[0] + 1}, column ${patch.train_place[1] + 1}` : ", in a turned or mirrored view")],
  ["outlined", ""], ...(answer.pose ? [["pose", `${answer.pose.pose}; ${signed(100 * answer.pose.offset_x)} % of the longer side to the right, `
    + `${signed(100 * answer.pose.offset_y)} % down, turned by ${signed(answer.pose.angle)}°, ${answer.pose.size.toFixed(3)} times as large; `
    + `confidence ${answer.pose.confidence.toFixed(2)}`]] : []), ["photo", [`${answer.size.join(" × ")} pixels`, ...answer.notes].join("; ")]];
  const list = card.querySelector(".facts");
  for (const [what, words] of facts) {
    const value = make("dd", words);
    value.dataset.fact = what;
    list.append(make("dt", what), value);
  }
  card.querySelector(".panels").hidden = false;
};
const signed = (number) => `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(1)}`;
const asHigh = (score) => model.good_scores.filter((good) => good >= score).length;

// What does.
const show = ({ card, answer }) => {
  if (!answer) return;
  const chip = card.querySelector(".chip");
  const defective = limits.score === null ? null : answer.score > limits.score;
  const verdict = defective ? "defective" : answer.misplaced ? "misplaced" : defective === null ? "" : "good";
  chip.textContent = { defective: "✗ defective", misplaced: "✗ misplaced", "": "no threshold", good: "✓ good" }[verdict];
  chip.className = `chip ${defective || answer.misplaced ? "mistake" : "right"}`;
  card.dataset.verdict = verdict;
  const facts = (name) => card.querySelector(`[data-fact="${name}"]`);
  facts("score").textContent = short(answer.score)
    + (limits.score > 0 ? `, ${(answer.score / limits.score).toFixed(2)} × the threshold of ${short(limits.score)}` : "");
  const share = outline(card.querySelector("canvas"), answer, limits.map === null ? Infinity : limits.map);
  facts("outlined").textContent = share ? `${percent(share)} of the photo` : "nothing";
};

// The edge of all that is above the level; -> the share of the picture that is.
const outline = (canvas, { values, width, height }, level) => {
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  let above = 0;
  const mark = (place) => { if (place >= 0 && place < values.length) picture.data.set(CYAN, 4 * place); };
  for (let y = 0, place = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, place += 1) {
      if (!(values[place] > level)) continue;
      above += 1;
      if (x > 0 && !(values[place - 1] > level)) { mark(place); mark(place - 1); }
      if (x < width - 1 && !(values[place + 1] > level)) { mark(place); mark(place + 1); }
      if (y > 0 && !(values[place - width] > level)) { mark(place); mark(place - width); }
      if (y < height - 1 && !(values[place + width] > level)) { mark(place); mark(place + width); }
    }
  }
  context.putImageData(picture, 0, 0);
  canvas.dataset.above = above;
  return above / values.length;
};

const count = () => {
  const judged = results.filter((one) => one.answer);
  const bad = judged.filter((one) => one.card.dataset.verdict === "defective").length;
  const away = judged.filter((one) => one.card.dataset.verdict === "misplaced").length;
  const failed = results.filter((one) => !one.card.querySelector(".warning").hidden).length;
  $("count").textContent = results.length === 0 ? "No images yet."
    : `${judged.length} judged: ${bad} defective, ${away ? `${away} misplaced, ` : ""}${judged.length - bad - away} good${failed ? `; ${failed} not judged` : ""}.`;
};

// The sliders reach from below the good images to above everything that was judged.
const stretch = () => {
  const judged = results.filter((one) => one.answer).map((one) => one.answer);
  for (const [name, own, good, seen] of [
    ["score", model.threshold, model.good_scores, judged.map((answer) => answer.score)],
    ["map", model.map_threshold, model.good_peaks, judged.map((answer) => answer.peak)]]) {
    if (limits[name] === null) limits[name] = own === null && seen.length ? seen[0] : own;
    if (limits[name] === null) continue;  // neither a threshold nor an image yet
    const lowest = Math.min(limits[name], ...good, ...seen);
    const highest = Math.max(limits[name], ...good, ...seen);
    $(name).min = Math.max(0, lowest - 0.2 * (highest - lowest || highest));
    $(name).max = highest + 0.2 * (highest - lowest || highest);
    $(name).value = $(`${name}-number`).value = limits[name];
  }
  results.forEach(show);
  count();
  if (limits.score !== null) { explainLimits(); ruler(); }
};

const ruler = () => {
  const low = Number($("score").min);
  const high = Number($("score").max);
  const at = (score) => 1000 * (score - low) / (high - low);
  $("ruler").replaceChildren(
    ...model.good_scores.map((score) => svg("line", { class: "tick", x1: at(score), x2: at(score), y1: 26, y2: 44 })),
    ...results.filter((one) => one.answer).map((one) => svg("line", {
      class: "mark", x1: at(one.answer.score), x2: at(one.answer.score), y1: 2, y2: 20 })),
    svg("line", { class: "threshold", x1: at(limits.score), x2: at(limits.score), y1: 0, y2: 46 }));
};

const explainLimits = () => {
  const meaning = (level, good) => {
    const above = good.filter((one) => one > level).length;
    return good.length ? `${above} of ${good.length} good training images (${percent(above / good.length)}) are above it.`
      : "The model was not calibrated: no good images to compare with.";
  };
  $("score-means").textContent = `${meaning(limits.score, model.good_scores)} Marks below the line: good training images; above it: images judged here.`;
  $("map-means").textContent = meaning(limits.map, model.good_peaks);
};

let waiting = false;
const change = (name, value) => {
  if (!Number.isFinite(value)) return;
  limits[name] = value;
  for (const id of [name, `${name}-number`]) {
    if (document.activeElement !== $(id) || $(id).valueAsNumber !== value) $(id).value = value;
  }
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    results.forEach(show);
    count();
    explainLimits();
    ruler();
  });
};

const start = async () => {
  model = await json(await fetch("model"));
  $("about").textContent = `${model.name}: learned from ${model.images} good images with ${model.backbone}, remembers `
    + `${model.patches.toLocaleString("en")} patches. ` + (model.threshold === null ? "It has no threshold of its own." :
      `Its threshold was set for ${percent(model.false_alarm_rate)} false alarms (${model.calibration}).`)
    + (model.region === null ? "" : ` It looks at ${percent(model.region)} of each photo; all else is dimmed and does not count.`);
  document.title = `indad: ${model.name}`;
  $("credit").textContent = model.credit.join(" ");
  stretch();
  for (const name of ["score", "map"]) {
    for (const id of [name, `${name}-number`]) {
      $(id).addEventListener("input", (event) => change(name, event.target.valueAsNumber));
    }
  }
  $("reset").addEventListener("click", () => { limits.score = limits.map = null; stretch(); });
  $("files").addEventListener("change", (event) => { add(event.target.files); event.target.value = ""; });
  addEventListener("paste", (event) => add(event.clipboardData.files));
  addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
  addEventListener("dragleave", () => $("drop").classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    $("drop").classList.remove("over");
    add(event.dataTransfer.files);
  });
  document.body.dataset.ready = "yes";
};

// The camera, where there is one that this page may ask for.
if (navigator.mediaDevices && navigator.mediaDevices.getUserMedia) {
  const video = $("video");
  const stop = () => {
    for (const track of video.srcObject ? video.srcObject.getTracks() : []) track.stop();
    video.srcObject = null;
    $("live").hidden = true;
    $("camera").hidden = false;
  };
  let taken = 0;
  $("camera").hidden = false;
  $("camera").addEventListener("click", async () => {
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 } } });
      await video.play();
      $("camera").hidden = true;
      $("live").hidden = false;
    } catch (error) {
      $("count").textContent = `No camera: ${error.message}.`;
    }
  });
  $("take").addEventListener("click", () => {
    const canvas = Object.assign(document.createElement("canvas"), { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => add([new File([blob], `camera picture ${taken += 1}`)]), "image/png");
  });
  $("stop").addEventListener("click", stop);
}

// Polygons for --region, on a photo of one's own or the newest that was judged.
const drawing = regionDrawing($("region-canvas"), (polygons, open) => {
  const left = polygons.length ? "" : open.length ? `${open.length} corners; three or more, then close` : "no polygon yet";
  $("region-text").textContent = left || `--region "${regionText(polygons)}"`;
  const kept = $("region-save");
  if (kept.href) URL.revokeObjectURL(kept.href);
  kept.hidden = !polygons.length;
  kept.href = URL.createObjectURL(new Blob([JSON.stringify({ region: polygons })], { type: "application/json" }));
});
$("region").addEventListener("toggle", () => {
  const [newest] = results.filter((one) => one.answer);
  if ($("region").open && newest && !$("region-canvas").dataset.chosen) drawing.over(newest.answer.photo);
});
$("region-file").addEventListener("change", (event) => {
  $("region-canvas").dataset.chosen = "yes";
  drawing.over(URL.createObjectURL(event.target.files[0]));
  event.target.value = "";
});
for (const name of ["close", "undo", "clear"]) $(`region-${name}`).addEventListener("click", drawing[name]);

start().catch((error) => { $("about").textContent = `No answer from the server: ${error.message}`; });
