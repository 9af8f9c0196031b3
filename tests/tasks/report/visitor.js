// What a visitor does with the page, and tells the frame around it: for tests/tasks/report/test_browser.py.
addEventListener("load", () => {
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const column = (table, place) => [...table.tBodies[0].rows].map((row) => row.cells[place].firstChild.textContent.trim());
  const press = (table, place) => table.tHead.rows[0].cells[place].querySelector("button").click();

  const trySorting = () => {
    const table = all("table.sortable").find((one) => one.tHead.textContent.includes("Left out"));
    const before = column(table, 1);
    press(table, 1);
    const once = column(table, 1);
    const marked = table.tHead.rows[0].cells[1].getAttribute("aria-sort");
    press(table, 1);
    const twice = column(table, 1);
    press(table, 0);
    return { before, once, marked, twice, text: column(table, 0) };
  };

  const tryNumbers = () => {
    const table = all("table.sortable").find((one) => one.tHead.textContent.includes("Margin"));
    const values = ["1,234", "-", "21.4", "2.90", "1.50"];
    const row = table.tBodies[0].rows[0];
    table.tBodies[0].replaceChildren(...values.map(() => row.cloneNode(true)));
    values.forEach((value, place) => table.tBodies[0].rows[place].cells[1].replaceChildren(value));
    press(table, 1);
    return column(table, 1);
  };

  const tryZoom = () => {
    const picture = document.querySelector("figure.picture img");
    const dialog = document.querySelector("dialog");
    const large = dialog.querySelector("img");
    const before = dialog.open;
    picture.closest("button").click();
    const { open } = dialog;
    const larger = large.getBoundingClientRect().width > 1.3 * picture.getBoundingClientRect().width;
    const same = large.src === picture.src;
    dialog.querySelector("button").click();
    return { before, open, larger, same, closed: !dialog.open };
  };

  const tryReading = () => {
    const canvas = all("figure.plot").find((one) => one.textContent.includes("Blur")).querySelector(".canvas");
    const [, left, top] = [0, ...JSON.parse(canvas.parentElement.dataset.lines)[1].points[1]];
    const box = canvas.getBoundingClientRect();
    const at = { clientX: box.left + left * box.width, clientY: box.top + top * box.height };
    canvas.dispatchEvent(new PointerEvent("pointermove", at));
    const tip = canvas.querySelector(".tip");
    return getComputedStyle(tip).visibility === "visible" ? tip.textContent : "hidden";
  };

  const letters = () => {
    const own = (node) => [...node.childNodes].some((one) => one.nodeType === 3 && one.data.trim());
    const heights = all("body *:not(script):not(svg *)").filter(own).map((one) => parseFloat(getComputedStyle(one).fontSize));
    const scale = (text) => text.ownerSVGElement.getBoundingClientRect().width / text.ownerSVGElement.viewBox.baseVal.width;
    const drawn = all("svg text").map((text) => parseFloat(getComputedStyle(text).fontSize) * scale(text));
    return Math.min(...heights, ...drawn.map((height) => 1.25 * height)); // labels of axes may be a little smaller
  };

  const overflowing = all("body *").filter((one) => one.getBoundingClientRect().right > innerWidth && !one.closest(".scroll, pre"));
  const found = {
    size: [innerWidth, innerHeight],
    width: document.documentElement.scrollWidth,
    wide: overflowing.slice(0, 5).map((one) => one.outerHTML.slice(0, 120)),
    smallest: letters(),
    sorted: trySorting(),
    zoom: tryZoom(),
    tip: tryReading(),
    numbers: tryNumbers(),
    requests: performance.getEntriesByType("resource").map((one) => one.name).filter((name) => !name.startsWith("data:")),
  };
  parent.postMessage(JSON.stringify(found), "*");
});
