// Sortable tables, pictures that enlarge, and values at the pointer in plots. The page is complete without it.
"use strict";

(() => {
  const make = (tag, className, ...content) => {
    const element = document.createElement(tag);
    element.className = className;
    element.append(...content);
    return element;
  };

  // Sorting uses the number at the start of a cell; cells without a value come last in both directions.
  const cellText = (row, column) => (row.cells[column] ? row.cells[column].textContent.trim() : "");
  const number = (text) => (/^-?[\d.,]+(e[-+]?\d+)?/i.test(text) ? parseFloat(text.replaceAll(",", "")) : NaN);
  const isEmpty = (text) => text === "" || text === "-";

  const compare = (one, other, sign) => {
    if (isEmpty(one) || isEmpty(other)) return isEmpty(one) - isEmpty(other);
    const difference = number(one) - number(other);
    return sign * (Number.isNaN(difference) ? one.localeCompare(other, undefined, { numeric: true }) : difference);
  };

  const sort = (table, head) => {
    const rising = head.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const column = head.cellIndex;
    const rows = [...table.tBodies[0].rows];
    rows.sort((one, other) => compare(cellText(one, column), cellText(other, column), rising ? 1 : -1));
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

  // Enlarging: the browser closes a dialog on Escape; a click anywhere in it closes it, too.
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
    const widthScale = (innerWidth * 0.96 - 40) / picture.naturalWidth; // 40 pixels for the dialog's own edges
    const scale = Math.min(widthScale, (innerHeight * 0.8) / picture.naturalHeight);
    const fitting = scale * picture.naturalWidth;
    const shown = picture.clientWidth;
    large.style.width = `${Math.round(fitting > 1.3 * shown ? fitting : 2 * shown)}px`; // a picture too large for the window scrolls
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

  // Values: the point nearest to the pointer, with positions as fractions of the plot.
  const nearest = (lines, area, x, y) => {
    let found = null;
    for (const line of lines) {
      for (const [left, top, ...words] of line.points) {
        const distance = Math.hypot(left * area.width - x, (top * area.height - y) / 4); // distance along x counts more
        if (!found || distance < found.distance) found = { distance, left, top, words, name: line.name };
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
      const area = canvas.getBoundingClientRect();
      const at = nearest(lines, area, event.clientX - area.left, event.clientY - area.top);
      if (!at) return;
      cross.style.left = spot.style.left = `${100 * at.left}%`;
      spot.style.top = `${100 * at.top}%`;
      tip.textContent = `${lines.length > 1 ? `${at.name}: ` : ""}${at.words[1]} at ${at.words[0]}`;
      tip.style.left = `${Math.max(0, Math.min(at.left * area.width + 8, area.width - tip.offsetWidth))}px`;
      canvas.classList.add("read");
    };
    canvas.addEventListener("pointermove", show);
    canvas.addEventListener("pointerdown", show);
    canvas.addEventListener("pointerleave", () => canvas.classList.remove("read"));
  };

  document.querySelectorAll("figure.plot").forEach(readable);
})();
