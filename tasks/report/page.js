// Tables that sort, pictures that enlarge, curves that say what stands where. The page reads as well without.
"use strict";

(() => {
  const make = (tag, className, ...content) => {
    const element = document.createElement(tag);
    element.className = className;
    element.append(...content);
    return element;
  };

  // Sorting: a number is what a cell starts with; cells without a value come last either way.
  const said = (row, column) => (row.cells[column] ? row.cells[column].textContent.trim() : "");
  const number = (text) => (/^-?[\d.,]+(e[-+]?\d+)?/i.test(text) ? parseFloat(text.replaceAll(",", "")) : NaN);
  const without = (text) => text === "" || text === "-";

  const compare = (one, other, turn) => {
    if (without(one) || without(other)) return without(one) - without(other);
    const difference = number(one) - number(other);
    return turn * (Number.isNaN(difference) ? one.localeCompare(other, undefined, { numeric: true }) : difference);
  };

  const sort = (table, head) => {
    const rising = head.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const column = head.cellIndex;
    const rows = [...table.tBodies[0].rows];
    rows.sort((one, other) => compare(said(one, column), said(other, column), rising ? 1 : -1));
    table.tBodies[0].append(...rows);
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    for (const head of table.tHead.rows[0].cells) {
      if (head.classList.contains("unsorted")) continue;
      const button = make("button", "sort", ...head.childNodes);
      button.type = "button";
      button.addEventListener("click", () => sort(table, head));
      head.append(button);
    }
  }

  // Enlarging: a dialog closes by Escape on its own, and by a click anywhere in it.
  const large = make("img", "");
  const caption = make("p", "soft");
  const close = make("button", "close", "Close");
  const dialog = make("dialog", "zoom", close, large, caption);
  dialog.addEventListener("click", () => dialog.close());
  document.body.append(dialog);

  const enlarge = (picture, words) => {
    large.src = picture.src;
    large.alt = picture.alt;
    caption.textContent = words;
    const across = (innerWidth * 0.96 - 40) / picture.naturalWidth; // the dialog's own edges need some room, too
    const room = Math.min(across, (innerHeight * 0.8) / picture.naturalHeight);
    const fitting = room * picture.naturalWidth;
    const shown = picture.clientWidth;
    large.style.width = `${Math.round(fitting > 1.3 * shown ? fitting : 2 * shown)}px`; // where none fits, it scrolls
    dialog.showModal();
  };

  for (const picture of document.querySelectorAll("figure.picture img")) {
    const words = picture.parentElement.querySelector("figcaption").textContent;
    const button = make("button", "enlarge");
    button.type = "button";
    button.setAttribute("aria-label", `Enlarge: ${words}`);
    picture.replaceWith(button);
    button.append(picture);
    button.addEventListener("click", () => enlarge(picture, words));
  }

  // Reading off: the point nearest to the pointer, by its place as fractions of the drawing.
  const nearest = (lines, box, x, y) => {
    let found = null;
    for (const line of lines) {
      for (const [left, top, ...words] of line.points) {
        const far = Math.hypot(left * box.width - x, (top * box.height - y) / 4); // along x counts more
        if (!found || far < found.far) found = { far, left, top, words, name: line.name };
      }
    }
    return found;
  };

  const readable = (plot) => {
    const lines = JSON.parse(plot.dataset.lines);
    const canvas = plot.querySelector(".canvas");
    const cross = make("i", "cross");
    const spot = make("i", "spot");
    const tip = make("span", "tip");
    canvas.append(cross, spot, tip);
    const show = (event) => {
      const box = canvas.getBoundingClientRect();
      const at = nearest(lines, box, event.clientX - box.left, event.clientY - box.top);
      if (!at) return;
      cross.style.left = spot.style.left = `${100 * at.left}%`;
      spot.style.top = `${100 * at.top}%`;
      tip.textContent = `${lines.length > 1 ? `${at.name}: ` : ""}${at.words[1]} at ${at.words[0]}`;
      tip.style.left = `${Math.max(0, Math.min(at.left * box.width + 8, box.width - tip.offsetWidth))}px`;
      canvas.classList.add("read");
    };
    canvas.addEventListener("pointermove", show);
    canvas.addEventListener("pointerdown", show);
    canvas.addEventListener("pointerleave", () => canvas.classList.remove("read"));
  };

  document.querySelectorAll("figure.plot").forEach(readable);
})();
