// Sorts tables within their kinds by the unrounded value of their cells, filters rows by their text,
// shows or hides intervals, and copies what is selected as a spreadsheet takes it.
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const given = [...body.rows];
  const heads = [...[...table.tHead.rows].at(-1).cells];
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
      ruled(body);
    });
  });
  table.addEventListener("copy", (event) => {
    const rows = selectedRows(table);
    if (!rows.length || !event.clipboardData) return;
    event.clipboardData.setData("text/plain", rows.map((row) => row.join("\t")).join("\n"));
    event.preventDefault();
  });
}
// Kinds keep their order, the oracle at the end: only rows of one kind change places.
function sorted(rows, column, ascending) {
  const key = (row) => row.cells[column].dataset.value;
  const numeric = rows.every((row) => key(row) !== "" && !isNaN(key(row)));
  const order = numeric ? (a, b) => key(a) - key(b) : (a, b) => key(a).localeCompare(key(b));
  const kinds = [...new Set(rows.map(kind))];
  return kinds.flatMap((name) =>
    rows.filter((row) => kind(row) === name).sort((a, b) => (ascending ? 1 : -1) * order(a, b)));
}
function kind(row) {
  return [...row.classList].find((name) => name.startsWith("kind-"));
}
function ruled(body) {
  const rows = [...body.rows];
  rows.forEach((row, i) => row.classList.toggle("first-of-kind", i > 0 && kind(row) !== kind(rows[i - 1])));
}
// The head and every selected row; an interval becomes two columns, so that each cell is a number.
function selectedRows(table) {
  const selection = getSelection();
  const rows = [...table.tBodies[0].rows].filter((row) => !row.hidden && selection.containsNode(row, true));
  if (rows.length < 2) return [];
  const shown = !table.classList.contains("bare");
  const spans = [...rows[0].cells].map((_, c) => shown && rows.some((row) => row.cells[c].dataset.low));
  const heads = [...[...table.tHead.rows].at(-1).cells].map((head) => head.abbr || head.textContent.trim());
  const wide = (texts) => texts.flatMap(([text, low, high], c) => (spans[c] ? [text, low, high] : [text]));
  return [
    wide(heads.map((head) => [head, `${head} low`, `${head} high`])),
    ...rows.map((row) => wide([...row.cells].map((cell) => {
      const ends = (cell.querySelector("small")?.textContent ?? "").replace(/[[\]]/g, "").split(", ");
      return [(cell.querySelector("span") ?? cell).textContent.trim(), ends[0] ?? "", ends[1] ?? ""];
    }))),
  ];
}
for (const input of document.querySelectorAll("input[data-filters]")) {
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase();
    for (const row of document.getElementById(input.dataset.filters).tBodies[0].rows) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
    }
  });
}
for (const input of document.querySelectorAll("input[data-intervals]")) {
  const table = document.getElementById(input.dataset.intervals), box = table.parentElement;
  const show = () => table.classList.toggle("bare", !input.checked);
  input.checked = box.clientWidth ? table.scrollWidth <= box.clientWidth : innerWidth >= 1200;
  input.addEventListener("change", show);
  show();
}
