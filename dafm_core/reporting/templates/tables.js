// Sorts tables by the unrounded value of their cells, and filters rows by their text.
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const given = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const was = head.getAttribute("aria-sort");
      const turn = { null: "descending", descending: "ascending", ascending: null }[was];
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      if (turn) head.setAttribute("aria-sort", turn);
      body.append(...(turn ? sorted(given, column, turn === "ascending") : given));
    });
  });
}
function sorted(rows, column, ascending) {
  const key = (row) => row.cells[column].dataset.value;
  const numeric = rows.every((row) => key(row) !== "" && !isNaN(key(row)));
  const order = numeric ? (a, b) => key(a) - key(b) : (a, b) => key(a).localeCompare(key(b));
  return [...rows].sort((a, b) => (ascending ? 1 : -1) * order(a, b));
}
for (const input of document.querySelectorAll("input[data-filters]")) {
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase();
    for (const row of document.getElementById(input.dataset.filters).tBodies[0].rows) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
    }
  });
}
