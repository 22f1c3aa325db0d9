// Browses cases: a filtered, sorted list, PAGE rows of which exist at a time, and cards of the chosen.
// What is chosen stands in the address, so that a case can be linked to, reloaded and gone back to.
// Every text becomes a text node; nothing from the data is ever parsed as HTML.
"use strict";
const PAGE = 20, ALL_AS_CARDS = 12;
const cases = JSON.parse(document.getElementById("cases-json").textContent);
const columns = [...cases.providers, ...cases.fusers];
const depth = cases.depth, K = cases.providers.length, nCases = cases.ids.length;
const typed = Object.fromEntries(Object.entries(cases.types).map(([t, rows]) => [t, new Set(rows)]));
const lowered = cases.texts.map((text, i) => `${text}\n${cases.ids[i]}`.toLowerCase());
const browser = document.getElementById("browser"), form = browser.querySelector("form");
const list = document.getElementById("case-list"), cards = document.getElementById("case-cards");
const state = { order: "change", ascending: false, page: 0, rows: [], open: null };
const FILTERS = ["fuser", "outcome", "type", "text"];

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}
const label = (name) => (Object.hasOwn(cases.labels, name) ? cases.labels[name] : name);
const rankText = (rank) => (rank === null ? "not ranked" : String(rank));
const fuser = () => form.elements.fuser.value;
const outcome = (i) => (fuser() ? cases.outcomes[cases.outcome[fuser()][i]][0] : "");
function change(i) {
  const single = cases.ranks[cases.bestSingle][i], fused = fuser() && cases.ranks[fuser()][i];
  return single && fused ? Math.log2(single / fused) : 0;
}
const signed = (x) => (x > 0 ? "+" : "") + x.toFixed(2);

function keys() {
  const head = { text: (i) => cases.texts[i] };
  if (fuser()) Object.assign(head, { outcome, change });
  return Object.assign(head, Object.fromEntries(columns.map((c) => [`rank ${c}`, (i) => cases.ranks[c][i] ?? Infinity])));
}
function select() {
  const { outcome: wanted, type, text } = form.elements;
  const words = text.value.toLowerCase();
  state.rows = [...Array(nCases).keys()].filter((i) =>
    (!wanted.value || outcome(i) === wanted.value) && (!type.value || typed[type.value].has(i)) && lowered[i].includes(words));
  const key = keys()[state.order] ?? ((i) => i);
  const values = state.order === "change" ? (i) => Math.abs(key(i)) : key;
  const sign = state.ascending ? 1 : -1;
  if (keys()[state.order]) {
    const keyed = state.rows.map((i) => [values(i), i]);
    keyed.sort(([a], [b]) => sign * (typeof a === "string" ? a.localeCompare(b) : a === b ? 0 : a - b));
    state.rows = keyed.map(([, i]) => i);
  }
  state.page = 0;
  drawCounts();
  if (nCases <= ALL_AS_CARDS) {
    drawList();
    showCards(state.rows.slice(0, ALL_AS_CARDS));
  } else {
    open(state.rows.includes(state.open) ? state.open : state.rows[0], false);
  }
}
// How many queries each choice would leave, the other filters as they are.
function drawCounts() {
  const { outcome: wanted, type, text } = form.elements;
  const words = text.value.toLowerCase();
  const fits = (i, name, kind) =>
    (!name || outcome(i) === name) && (!kind || typed[kind].has(i)) && lowered[i].includes(words);
  const count = (name, kind) => lowered.filter((_, i) => fits(i, name, kind)).length;
  for (const option of wanted.options) option.textContent = `${option.value || "any"} (${count(option.value, type.value)})`;
  for (const option of type.options) option.textContent = `${option.value || "anything"} (${count(wanted.value, option.value)})`;
}
// Opens a case: its card, its row in the list, and the address.
function open(i, remember = true) {
  state.open = i ?? null;
  if (i !== undefined) state.page = Math.floor(state.rows.indexOf(i) / PAGE);
  drawList();
  showCards(i === undefined ? [] : [i]);
  if (remember) writeAddress();
}
function step(by) {
  const to = state.rows.indexOf(state.open) + by;
  if (to < 0 || to >= state.rows.length) return;
  open(state.rows[to]);
  cards.scrollIntoView({ block: "nearest" });
}
function writeAddress() {
  const known = new URLSearchParams();
  if (state.open !== null) known.set("case", cases.ids[state.open]);
  for (const name of FILTERS) {
    const field = form.elements[name];
    if (field.value && field.value !== field.dataset.given) known.set(name, field.value);
  }
  history.replaceState(null, "", `#${known}`);
}
// An address of another section, e.g. #comparison, says nothing of cases.
function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (![...given.keys()].some((key) => key === "case" || FILTERS.includes(key))) return false;
  for (const name of FILTERS) {
    const field = form.elements[name], value = given.get(name);
    const known = field.tagName !== "SELECT" || [...field.options].some((option) => option.value === value);
    field.value = value !== null && known ? value : field.dataset.given;
  }
  const asked = cases.ids.indexOf(given.get("case"));
  state.open = asked < 0 ? null : asked;
  const unknown = given.has("case") && asked < 0;
  browser.querySelector("#unknown-case").textContent = unknown ? `There is no query ${given.get("case")} on this page.` : "";
  return true;
}
function drawList() {
  const names = Object.keys(keys());
  list.tHead.rows[0].replaceChildren(...names.map((name) => {
    const button = make("button", { type: "button", textContent: label(name.replace(/^rank /, "")) });
    button.addEventListener("click", () => {
      state.ascending = state.order === name ? !state.ascending : name !== "change";
      state.order = name;
      select();
      list.tHead.querySelectorAll("button")[names.indexOf(name)].focus();
    });
    const head = make("th", { scope: "col" }, button);
    if (name === state.order) head.setAttribute("aria-sort", state.ascending ? "ascending" : "descending");
    return head;
  }));
  const start = state.page * PAGE, shown = state.rows.slice(start, start + PAGE);
  list.tBodies[0].replaceChildren(...shown.map(drawRow));
  list.caption.textContent = `${state.rows.length} of ${nCases} queries of ${cases.protocol}`;
  const last = Math.max(1, Math.ceil(state.rows.length / PAGE));
  browser.querySelector(".pager").hidden = last === 1;
  browser.querySelector(".pager span").textContent = `page ${state.page + 1} of ${last}`;
  for (const button of browser.querySelectorAll(".pager button")) {
    const to = state.page + Number(button.dataset.step);
    button.disabled = to < 0 || to >= last;
  }
}
function drawRow(i) {
  const button = make("button", { type: "button", className: "open", dir: "auto", textContent: cases.texts[i].trim() || "(no text)" });
  button.addEventListener("click", () => {
    open(i);
    cards.firstChild.focus({ preventScroll: true });
    cards.scrollIntoView({ block: "nearest" });
  });
  const row = make("tr", {}, make("th", { scope: "row" }, button));
  if (i === state.open) row.setAttribute("aria-current", "true");
  if (fuser()) row.append(make("td", { textContent: outcome(i) }), make("td", { className: "number", textContent: signed(change(i)) }));
  for (const name of columns) {
    const rank = cases.ranks[name][i];
    const found = rank !== null && rank <= depth;
    row.append(make("td", { className: found ? "number best" : "number", textContent: rankText(rank) }));
  }
  return row;
}

function picture(image) {
  const uri = cases.thumbnails[image];
  if (uri) return make("img", { src: uri, alt: cases.images[image], title: cases.images[image], decoding: "async" });
  const caption = cases.captions[image];
  const box = make("span", { className: "stand-in", dir: "auto" });
  if (caption) box.append(caption, make("small", { textContent: cases.images[image] }));
  else box.append(cases.images[image]);
  return box;
}
function showCards(rows) {
  cards.replaceChildren(...rows.map(card));
}
function card(i) {
  const article = make("article", { tabIndex: -1 });
  const targets = new Set(cases.targets[i]);
  article.append(
    make("h3", { dir: "auto", textContent: cases.texts[i].trim() || "(no text)" }),
    make("p", {}, make("small", { textContent: `query ${cases.ids[i]}${fuser() ? `, ${outcome(i)} under ${label(fuser())}` : ""}` })),
    make("div", { className: "pair" },
      ...cases.references[i].map((r) => make("figure", {}, picture(r), make("figcaption", { textContent: "reference" }))),
      ...cases.targets[i].map((t) => make("figure", { className: "target" }, picture(t), make("figcaption", { textContent: "target" })))));
  const why = make("div", { className: "scroll why", tabIndex: 0, role: "group", ariaLabel: "Why the chosen candidate stands there" });
  const grid = make("div", { className: "hits scroll", tabIndex: 0, role: "group", ariaLabel: "First candidates by column" });
  const picked = { column: null };
  for (const name of beforeAfter()) {
    const fused = cases.fusers.includes(name), explained = Object.hasOwn(cases.parts, name);
    const ordered = make("ol");
    for (let d = 0; d < depth; d++) {
      const image = cases.hits[name][i * depth + d];
      if (image < 0) continue;
      const isTarget = targets.has(image);
      const face = make(explained ? "button" : "div", { className: isTarget ? "hit target" : "hit" }, picture(image));
      if (isTarget) face.append(make("b", { textContent: "✓ target" }));
      if (explained) {
        face.type = "button";
        face.setAttribute("aria-pressed", "false");
        face.addEventListener("click", () => explain(i, name, d, why, face, article));
        if (name === fuser() && (picked.column === null || isTarget)) Object.assign(picked, { column: name, d, face });
      }
      ordered.append(make("li", {}, face));
    }
    grid.append(make("div", { className: fused ? "fused" : "" },
      make("h4", { textContent: name === cases.bestSingle && fuser() ? `before: ${label(name)}` : name === fuser() ? `after: ${label(name)}` : label(name) }),
      make("p", {}, make("small", { textContent: `target at rank ${rankText(cases.ranks[name][i])}` })), ordered));
  }
  article.append(grid, why);
  if (picked.column) explain(i, picked.column, picked.d, why, picked.face, article);
  return article;
}
// The best single model, then the chosen fusion beside it, then everybody else.
function beforeAfter() {
  const first = [cases.bestSingle, fuser()].filter((name) => columns.includes(name));
  return [...first, ...columns.filter((name) => !first.includes(name))];
}
function explain(i, name, d, why, face, article) {
  for (const other of article.querySelectorAll("[aria-pressed]")) other.setAttribute("aria-pressed", String(other === face));
  const part = cases.parts[name], base = (i * depth + d) * K;
  const heads = ["Model", "Its score (SD)", "Its rank", "Contribution (SD)", "Rank without it"];
  const rows = cases.providers.map((provider, k) => make("tr", {},
    make("th", { scope: "row", textContent: label(provider) }),
    ...[part.standardised[base + k] === null ? "-" : (part.standardised[base + k] / 100).toFixed(2), rankText(part.rank[base + k]),
      signed(part.contribution[base + k] / 100), rankText(part.without[base + k])]
      .map((text) => make("td", { className: "number", textContent: text }))));
  const image = cases.images[cases.hits[name][i * depth + d]];
  why.replaceChildren(make("table", {},
    make("caption", { textContent: `Why ${label(name)} puts ${image} at place ${d + 1}` }),
    make("thead", {}, make("tr", {}, ...heads.map((h, c) => make("th", { scope: "col", className: c ? "number" : "", textContent: h })))),
    make("tbody", {}, ...rows)));
}

function options(select, pairs) {
  select.append(...pairs.map(([value, textContent]) => make("option", { value, textContent })));
}
options(form.elements.fuser, cases.fusers.map((name) => [name, label(name)]));
options(form.elements.outcome, [["", "any"], ...cases.outcomes.map(([name]) => [name, name])]);
options(form.elements.type, [["", "anything"], ...Object.keys(typed).map((name) => [name, name])]);
form.elements.fuser.parentElement.hidden = cases.fusers.length < 2;
form.elements.outcome.parentElement.hidden = cases.fusers.length < 1;
form.addEventListener("input", () => {
  const meaning = cases.outcomes.find(([name]) => name === form.elements.outcome.value);
  browser.querySelector("#outcome-words small").textContent =
    meaning ? `${meaning[0]}: ${meaning[1]} (among the first ${depth}; best single model: ${label(cases.bestSingle)})` : "";
  select();
  writeAddress();
});
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select, textarea");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || nCases <= ALL_AS_CARDS) return;
  const by = { n: 1, p: -1 }[event.key];
  if (by) step(by);
});
for (const button of document.querySelectorAll(".stepper button")) {
  button.addEventListener("click", () => step(Number(button.dataset.step)));
}
addEventListener("hashchange", () => {
  if (!readAddress()) return;
  select();
  browser.scrollIntoView();
});
for (const name of FILTERS) form.elements[name].dataset.given = form.elements[name].value;
form.addEventListener("submit", (event) => event.preventDefault());
for (const button of browser.querySelectorAll(".pager button")) {
  button.addEventListener("click", () => { state.page += Number(button.dataset.step); drawList(); });
}
if (!cases.fusers.length) state.order = "";
browser.hidden = nCases <= 1;
document.querySelector(".stepper").hidden = nCases <= ALL_AS_CARDS;
readAddress();
select();
