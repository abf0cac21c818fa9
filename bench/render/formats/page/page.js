// Makes tables sort and filter. Without it everything is there, in the order of the files.
"use strict";
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const value = (row, column) => {
    const cell = row.cells[column];
    if (!("value" in cell.dataset)) return null;
    const number = Number(cell.dataset.value);
    return Number.isNaN(number) || cell.dataset.value === "" ? cell.dataset.value : number;
  };
  const order = (one, other) => {
    // What is absent comes last, whichever way is sorted.
    if (typeof one === "number" && typeof other === "number") return one - other;
    return String(one).localeCompare(String(other), undefined, { numeric: true });
  };
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    if (!heading.textContent) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      // Numbers from the greatest, words from A; then the other way round; then as it was.
      const ways = heading.classList.contains("number") ? ["descending", "ascending"] : ["ascending", "descending"];
      const way = ways[ways.indexOf(heading.getAttribute("aria-sort")) + 1];
      for (const other of headings) other.removeAttribute("aria-sort");
      if (!way) {
        body.append(...rows);
        return;
      }
      const descending = way === "descending";
      heading.setAttribute("aria-sort", way);
      const present = rows.filter((row) => value(row, column) !== null);
      const absent = rows.filter((row) => value(row, column) === null);
      present.sort((a, b) => (descending ? -1 : 1) * order(value(a, column), value(b, column)));
      body.append(...present, ...absent);
    });
  });
  if (rows.length < 4 || table.closest(".facts")) continue;
  const box = document.createElement("label");
  box.className = "filter";
  const small = (element) => element.textContent.toLowerCase();
  const names = headings.map((heading) => small(heading).split(/[^\w]/)[0]);
  // Words of a row are those of its cells, without its mark, also behind the column's name: 100, batch=100.
  const texts = new Map(rows.map((row) => [row, [...row.cells].map((cell, column) => `${names[column]}=${small(cell).replace(/^[^\w ] /, "")}`).join(" ")]));
  const above = [...table.closest("section").querySelectorAll("h3, dl")].map(small).join(" ");
  const input = document.createElement("input");
  input.type = "search";
  input.placeholder = "words that a row must hold";
  const count = document.createElement("output");
  box.append("Filter ", input, count);
  table.parentElement.before(box);
  input.addEventListener("input", () => {
    const anywhere = [...texts.values()].join(" ");
    // What no row says but the words around the table do holds for each of its rows.
    const words = input.value.toLowerCase().split(/\s+/)
      .filter((word) => anywhere.includes(word) || !above.includes(word.replace("=", " ")));
    let shown = 0;
    for (const [row, text] of texts) {
      row.hidden = !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    count.value = input.value ? `${shown} of ${rows.length} rows` : "";
  });
}
