// Through the photos, one after the other: j next, k back.
const photos = [...document.querySelectorAll(".suspect")];
let at = -1;
addEventListener("keydown", (event) => {
  const step = { j: 1, k: -1 }[event.key];
  if (!step || event.ctrlKey || event.metaKey || event.altKey || !photos.length) return;
  at = Math.min(Math.max(at + step, 0), photos.length - 1);
  photos[at].focus();
  photos[at].scrollIntoView({ block: "center" });
});
