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
      const descending = heading.getAttribute("aria-sort") === (heading.classList.contains("number") ? null : "ascending")
        || heading.getAttribute("aria-sort") === "ascending";
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const present = rows.filter((row) => value(row, column) !== null);
      const absent = rows.filter((row) => value(row, column) === null);
      present.sort((a, b) => (descending ? -1 : 1) * order(value(a, column), value(b, column)));
      body.append(...present, ...absent);
    });
  });
  if (rows.length < 4) continue;
  const box = document.createElement("label");
  box.className = "filter";
  const input = document.createElement("input");
  input.type = "search";
  input.placeholder = "words that a row must hold";
  const count = document.createElement("output");
  box.append("Filter ", input, count);
  table.parentElement.before(box);
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const cells = [...row.cells].map((cell) => cell.textContent.toLowerCase());
      row.hidden = !words.every((word) => cells.some((cell) => cell.includes(word)));
      shown += row.hidden ? 0 : 1;
    }
    count.value = words.length ? `${shown} of ${rows.length} rows` : "";
  });
}
