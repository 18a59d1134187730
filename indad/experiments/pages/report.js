"use strict";
// A link to a run opens it; on paper all are open.
const open = (id) => {
  const target = id && document.getElementById(id);
  if (target instanceof HTMLDetailsElement) { target.open = true; target.scrollIntoView(); }
};
addEventListener("hashchange", () => open(location.hash.slice(1)));
open(location.hash.slice(1));
addEventListener("beforeprint", () => {
  for (const one of document.querySelectorAll("details.run")) one.open = true;
});

// The gallery: what each control names must agree with the card.
const filters = document.getElementById("filters");
if (filters) {
  const gallery = document.getElementById("gallery");
  const cards = [...gallery.children];
  const none = document.getElementById("none");
  const orders = {
    worst: (a, b) => b.dataset.ratio - a.dataset.ratio,
    best: (a, b) => a.dataset.ratio - b.dataset.ratio,
    near: (a, b) => Math.abs(Math.log(a.dataset.ratio)) - Math.abs(Math.log(b.dataset.ratio)),
  };
  const apply = () => {
    const wanted = Object.fromEntries(new FormData(filters));
    const order = wanted.order;
    delete wanted.order;
    let shown = 0;
    for (const card of cards) {
      const fits = Object.entries(wanted).every(([name, value]) => !value || card.dataset[name] === value);
      card.hidden = !fits;
      shown += fits;
    }
    gallery.append(...(order in orders ? [...cards].sort(orders[order]) : cards));
    filters.elements.count.textContent = `${shown} of ${cards.length} pictures`;
    none.hidden = shown > 0;
  };
  filters.hidden = false;
  filters.addEventListener("input", apply);
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("reset", () => setTimeout(apply));
  apply();

  const dialog = document.getElementById("large");
  gallery.addEventListener("click", (event) => {
    const button = event.target.closest(".zoom");
    if (!button) return;
    const from = button.querySelector("img");
    const to = dialog.querySelector("img");
    to.src = from.src;
    to.alt = from.alt;
    dialog.querySelector("p").textContent = from.alt.replace(/^Enlarge: /, "");
    dialog.showModal();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target.closest("button")) dialog.close();
  });
}
