// The page of dafm serve. Texts and ids are set as text, never as markup; nothing is asked of any
// other server. What a query is stands in the address, so that it can be passed on.

const EXPLAINED = 30_000;
const $ = (id) => document.getElementById(id);
const state = {
  about: null, references: [], answer: null, targets: new Set(), marks: {}, asked: null,
  opened: null, known: { start: 0, total: 0 }, gallery: { start: 0 }, turn: 0, shown: "fused",
};

// -- small things ---------------------------------------------------------------------------

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

const hidden = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff]/g;
const visible = (text) =>
  String(text).replace(hidden, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
const name = (text) => make("bdi", {}, visible(text));
const imageUrl = (id, size = "thumbnail") =>
  `/images/${id.split("/").map(encodeURIComponent).join("/")}?size=${size}`;
const number = (value, digits = 2) =>
  value === null || value === undefined ? "–"
    : Number(value).toFixed(Math.abs(value) < 1000 ? digits : 0);
const rank = (value) => (value === null || value === undefined ? "–" : String(Math.round(value)));

function say(text, isError = false) {
  $("status").textContent = text;
  $("status").classList.toggle("error", isError);
}

async function ask(url, options = {}) {
  let response;
  try {
    response = await fetch(url, options);
  } catch {
    throw new Error("The service does not answer. Is dafm serve still running?");
  }
  const body = await response.json().catch(() => ({ error: `answer ${response.status}` }));
  if (!response.ok) throw new Error(body.error ?? `answer ${response.status}`);
  return body;
}

function remembered(key, fallback) {
  try { return JSON.parse(localStorage.getItem(key)) ?? fallback; } catch { return fallback; }
}
function remember(key, value) {
  try { localStorage.setItem(key, JSON.stringify(value)); } catch { /* private mode */ }
}

// -- references -----------------------------------------------------------------------------

function drawReferences() {
  $("references").replaceChildren(...state.references.map((reference, place) => {
    const label = reference.id ?? reference.file.name;
    const source = reference.id === undefined ? reference.url : imageUrl(reference.id);
    return make("li", {},
      make("img", { src: source, alt: `Reference ${place + 1}: ${visible(label)}` }),
      make("span", { title: visible(label) }, name(label)),
      make("button", {
        type: "button", "aria-label": `Remove reference ${visible(label)}`,
        onclick: () => { dropReference(place); $("files").focus(); },
      }, "Remove"));
  }));
}

function dropReference(place) {
  const [gone] = state.references.splice(place, 1);
  if (gone?.url) URL.revokeObjectURL(gone.url);
  drawReferences();
}

function addFiles(files) {
  const others = [];
  for (const file of files) {
    if (file.type.startsWith("image/")) {
      state.references.push({ file, url: URL.createObjectURL(file) });
    } else others.push(visible(file.name));
  }
  if (others.length) say(`${others.join(", ")}: no image.`, true);
  drawReferences();
}

// An image of this page is a reference by its id, whatever files a browser makes of it.
function addDropped(data) {
  const links = data.getData("text/uri-list").split(/\r?\n/).filter((line) => line && line[0] !== "#");
  const ids = links.map(idOf).filter((id) => id !== null);
  if (ids.length) {
    state.references.push(...ids.map((id) => ({ id })));
    drawReferences();
  } else if (data.files.length) addFiles(data.files);
  else say("Drop files of images, or images of this page: nothing is fetched from a link.", true);
}

function idOf(link) {
  const url = URL.canParse(link) ? new URL(link) : null;
  if (url?.origin !== location.origin || !url.pathname.startsWith("/images/")) return null;
  try {
    return url.pathname.slice("/images/".length).split("/").map(decodeURIComponent).join("/");
  } catch { return null; } // no address of ours
}

function setReferences(ids) {
  while (state.references.length) dropReference(0);
  state.references = ids.map((id) => ({ id }));
  drawReferences();
}

// -- asking ---------------------------------------------------------------------------------

const hitsByDefault = () => String(Math.min(20, state.about?.images ?? 20));

function address() {
  const query = new URLSearchParams();
  for (const reference of state.references) {
    if (reference.id !== undefined) query.append("reference", reference.id);
  }
  if ($("text").value) query.set("text", $("text").value);
  if ($("filter").value) query.set("filter", $("filter").value);
  if ($("k").value !== hitsByDefault()) query.set("k", $("k").value);
  return query;
}

async function search({ push = true } = {}) {
  const turn = ++state.turn;
  const form = new FormData();
  for (const reference of state.references) {
    if (reference.id !== undefined) form.append("reference", reference.id);
    else form.append("image", reference.file, reference.file.name);
  }
  form.set("text", $("text").value);
  form.set("filter", $("filter").value);
  form.set("k", $("k").value || hitsByDefault());
  if (state.about?.images > EXPLAINED) form.set("explain", "0"); // it takes whole rows of all models
  say("Searching …");
  $("results").setAttribute("aria-busy", "true");
  if (push) history.pushState(null, "", `?${address()}`);
  keepText($("text").value);
  try {
    const answer = await ask("/search", { method: "POST", body: form });
    if (turn !== state.turn) return; // a later query was asked meanwhile
    state.answer = answer;
    state.asked = state.references.every((reference) => reference.id !== undefined)
      ? { references: state.references.map((reference) => reference.id), text: $("text").value }
      : null;
    state.marks = {};
    if (state.about?.judging && state.asked) {
      const query = new URLSearchParams({ text: state.asked.text });
      for (const reference of state.asked.references) query.append("reference", reference);
      state.marks = (await ask(`/judgements?${query}`)).marks;
    }
    draw();
  } catch (error) {
    if (turn !== state.turn) return;
    state.answer = null;
    $("results").replaceChildren();
    $("choose").hidden = true;
    say(error.message, true);
  } finally {
    if (turn === state.turn) $("results").removeAttribute("aria-busy");
  }
}

function keepText(text) {
  if (!text.trim()) return;
  const texts = [text, ...remembered("dafm-texts", []).filter((other) => other !== text)];
  remember("dafm-texts", texts.slice(0, 50));
  drawHistory();
}

function drawHistory() {
  $("history").replaceChildren(
    ...remembered("dafm-texts", []).map((text) => make("option", { value: text })));
}

// -- results --------------------------------------------------------------------------------

function draw() {
  const answer = state.answer;
  const lists = { fused: answer.hits, ...answer.singles };
  if (!(state.shown in lists)) state.shown = "fused";
  const node = make("div", { class: "lists" },
    ...Object.entries(lists).map(([title, hits]) => drawList(title, hits)));
  $("results").replaceChildren(node);
  $("choose").hidden = false;
  $("choose").replaceChildren(...Object.keys(lists).map((title) => make("button", {
    type: "button", "aria-pressed": String(title === state.shown),
    onclick: () => { state.shown = title; showList(); },
  }, title === "fused" ? "Fused" : name(title))));
  showList();
  const notes = [
    `${answer.hits.length} of ${answer.n_images.toLocaleString("en")} images in ${Math.round(1000 * answer.seconds)} ms`,
    ...answer.estimated, ...answer.notes,
    ...Object.entries(answer.left_out).map(([model, why]) => `without ${model}: ${why}`),
  ];
  if (state.targets.size) notes.push(targetNote());
  say(notes.map(visible).join(" · "));
}

function targetNote() {
  const place = state.answer.hits.find((hit) => state.targets.has(hit.image_id))?.rank;
  return place ? `target at ${place}` : "no target among these hits";
}

function showList() {
  for (const list of document.querySelectorAll(".list")) {
    list.classList.toggle("shown", list.dataset.title === state.shown);
  }
  [...$("choose").children].forEach((button, place) => button.setAttribute(
    "aria-pressed", String(Object.keys({ fused: 0, ...state.answer.singles })[place] === state.shown)));
}

function drawList(title, hits) {
  const heading = title === "fused" ? "Fused" : name(title);
  return make("section", { class: title === "fused" ? "list fused" : "list", "data-title": title },
    make("h2", {}, heading),
    hits.length ? make("ol", {}, ...hits.map((hit) => make("li", {}, drawHit(title, hit))))
      : make("p", { class: "soft" }, "No hits: the filter hides every image."));
}

function drawHit(title, hit) {
  const { flag, kind } = standing(hit.image_id);
  const picture = make("img", {
    src: imageUrl(hit.image_id), alt: "", loading: "lazy", decoding: "async",
    onerror: () => picture.replaceWith(make("span", { class: "gone" }, "The file is gone")),
  });
  const button = make("button", {
    type: "button", class: `hit ${kind}`, "data-id": hit.image_id, "data-list": title,
    onclick: () => open(title, hit.rank - 1),
    onmouseenter: () => light(hit.image_id), onmouseleave: () => light(null),
    onfocus: () => light(hit.image_id), onblur: () => light(null),
  },
  picture,
  make("span", { class: "name" }, name(hit.image_id)),
  make("span", { class: "facts" }, `rank ${hit.rank} · ${number(hit.score, 3)}`),
  flag ? make("span", { class: "flag" }, flag) : null);
  return button;
}

function standing(id) {
  const mark = { meant: "meant", not: "not meant" }[state.marks[id]];
  const target = state.targets.has(id) ? "target" : null;
  const kind = mark ? state.marks[id] : target ?? "";
  return { flag: [target, mark].filter(Boolean).join(" · "), kind };
}

function light(id) {
  for (const hit of document.querySelectorAll(".hit")) {
    hit.classList.toggle("same", id !== null && hit.dataset.id === id);
  }
}

// -- one hit --------------------------------------------------------------------------------

const hitsOf = (title) => (title === "fused" ? state.answer.hits : state.answer.singles[title]);

function open(title, place) {
  const hits = hitsOf(title);
  const hit = hits[place];
  if (!hit) return;
  state.opened = { title, place };
  $("detail-title").replaceChildren(name(hit.image_id));
  $("full").src = imageUrl(hit.image_id, "full");
  $("full").alt = `Image ${visible(hit.image_id)}`;
  drawWhy(fusedHit(hit.image_id));
  $("judging").hidden = !(state.about?.judging && state.asked);
  $("judged").textContent = state.about?.judging && !state.asked
    ? "Uploads are not kept, so this query cannot be judged: use an image of the gallery." : "";
  drawStanding();
  $("back").disabled = place === 0;
  $("next").disabled = place === hits.length - 1;
  if (!$("detail").open) $("detail").showModal();
}

function drawWhy(hit) {
  const opinions = Object.entries(hit?.opinions ?? {});
  $("why").hidden = !opinions.length;
  const head = ["Model", "its rank", "score", "st. dev.", "adds", "rank without it"];
  $("why").replaceChildren(
    make("thead", {}, make("tr", {}, ...head.map((word) => make("th", { scope: "col" }, word)))),
    make("tbody", {}, ...opinions.map(([model, said]) => make("tr", {},
      make("th", { scope: "row" }, name(model)),
      make("td", {}, rank(said.rank)), make("td", {}, number(said.score, 3)),
      make("td", {}, number(said.standardised)), make("td", {}, number(said.contribution)),
      make("td", {}, rank(said.rank_without))))));
  $("why-words").textContent = hit ? reason(hit, opinions) : "";
}

function reason(hit, opinions) {
  const sorted = opinions.filter(([, said]) => said.contribution !== null)
    .sort(([, a], [, b]) => b.contribution - a.contribution);
  if (!sorted.length) return "";
  const [best, most] = sorted[0];
  const [worst, least] = sorted.at(-1);
  const without = (said) =>
    `${said.rank_without === hit.rank ? "the same rank" : `rank ${rank(said.rank_without)}`} without it`;
  const words = [`${visible(best)} lifts it most (${without(most)})`];
  if (least.contribution < 0) words.push(`${visible(worst)} holds it back (${without(least)})`);
  return `Rank ${hit.rank}: ${words.join("; ")}.`;
}

const fusedHit = (id) => state.answer.hits.find((hit) => hit.image_id === id);

function drawStanding() {
  const hit = hitOpened();
  if (!hit) return;
  const { title } = state.opened;
  const fused = fusedHit(hit.image_id);
  $("detail-place").textContent = [
    title === "fused" ? `rank ${hit.rank} of the fusion` : `rank ${hit.rank} of ${visible(title)}`,
    fused && title !== "fused" ? `rank ${fused.rank} of the fusion` : null,
    fused ? null : `not among the ${state.answer.hits.length} hits of the fusion`,
    standing(hit.image_id).flag || null,
  ].filter(Boolean).join(" · ");
  const mark = state.marks[hit.image_id];
  $("meant").setAttribute("aria-pressed", String(mark === "meant"));
  $("not").setAttribute("aria-pressed", String(mark === "not"));
}

const hitOpened = () => state.opened && hitsOf(state.opened.title)?.[state.opened.place];

async function judge(id, mark) {
  const { asked } = state;
  if (!state.about?.judging || !asked) return;
  const value = state.marks[id] === mark ? "none" : mark;
  try {
    const kept = await ask("/judgements", {
      method: "POST", headers: { "content-type": "application/json" },
      body: JSON.stringify({ ...asked, image: id, mark: value }),
    });
    if (asked !== state.asked) return; // another query was asked meanwhile
    state.marks = kept.marks;
    const judged = kept.n_queries === 1 ? "1 query has" : `${kept.n_queries} queries have`;
    $("judged").textContent = `Kept. ${judged} an image that was meant.`;
    const focused = document.activeElement?.closest?.(".hit");
    draw();
    if (focused) {
      document.querySelector(
        `.hit[data-list="${CSS.escape(focused.dataset.list)}"][data-id="${CSS.escape(id)}"]`,
      )?.focus();
    }
  } catch (error) {
    $("judged").textContent = error.message;
    say(error.message, true);
  }
  drawStanding();
}

function useAsReference(id) {
  state.targets = new Set();
  setReferences([id]);
  if ($("detail").open) $("detail").close();
  $("text").focus();
  $("text").select();
}

// -- images of the gallery ------------------------------------------------------------------

const SHELF = 24;

async function drawGallery() {
  const { start } = state.gallery;
  const query = new URLSearchParams({ start, n: SHELF, find: $("find-image").value });
  try {
    const page = await ask(`/gallery?${query}`);
    $("gallery-list").replaceChildren(...page.images.map((id) => make("li", {}, make("button", {
      type: "button", title: visible(id), onclick: () => { toggle("gallery"); useAsReference(id); },
    }, make("img", { src: imageUrl(id), alt: "" }), make("span", {}, name(id))))));
    const last = Math.min(start + SHELF, page.total);
    $("gallery-place").textContent = page.total ? `${start + 1}–${last} of ${page.total.toLocaleString("en")}` : "none";
    $("gallery-back").disabled = start === 0;
    $("gallery-next").disabled = last >= page.total;
  } catch (error) { say(error.message, true); }
}

// -- known queries --------------------------------------------------------------------------

async function drawKnown() {
  const query = new URLSearchParams({ start: state.known.start, n: 10, find: $("find").value });
  try {
    const page = await ask(`/queries?${query}`);
    state.known.total = page.total;
    $("known-list").replaceChildren(...page.queries.map((row) => make("li", {}, make("button", {
      type: "button", onclick: () => askKnown(row),
    }, ...row.references.slice(0, 2).map((id) => make("img", { src: imageUrl(id), alt: "" })),
    make("span", {}, name(row.text || "(no text)")),
    row.seen ? make("span", { class: "soft small" }, "trained on") : null))));
    const last = Math.min(state.known.start + 10, page.total);
    $("known-place").textContent = page.total ? `${state.known.start + 1}–${last} of ${page.total}` : "none";
    $("known-back").disabled = state.known.start === 0;
    $("known-next").disabled = last >= page.total;
  } catch (error) { say(error.message, true); }
}

function askKnown(row, push = true) {
  setReferences(row.references);
  $("text").value = row.text;
  state.targets = new Set(row.targets);
  $("known").hidden = true;
  $("show-known").setAttribute("aria-expanded", "false");
  if (push) history.pushState(null, "", `?${new URLSearchParams({ query: row.id })}`);
  search({ push: false }).then(() => $("results").focus({ preventScroll: true }));
}

function toggle(panel) {
  if ($(`show-${panel}`).hidden) return;
  $(panel).hidden = !$(panel).hidden;
  $(`show-${panel}`).setAttribute("aria-expanded", String(!$(panel).hidden));
  if ($(panel).hidden) return;
  if (panel === "known") { drawKnown(); $("find").focus(); }
  else { drawGallery(); $("find-image").focus(); }
}

// -- address, theme, keys -------------------------------------------------------------------

async function readAddress() {
  const query = new URLSearchParams(location.search);
  state.targets = new Set();
  if (query.has("query")) {
    const found = (await ask(`/queries?${new URLSearchParams({ id: query.get("query") })}`)).queries;
    if (found.length) askKnown(found[0], false);
    else say(`No known query ${query.get("query")}.`, true);
    return;
  }
  setReferences(query.getAll("reference"));
  $("text").value = query.get("text") ?? "";
  $("filter").value = query.get("filter") ?? "";
  $("k").value = query.get("k") ?? hitsByDefault();
  if (query.has("text") || query.has("reference")) await search({ push: false });
  else { state.answer = null; $("results").replaceChildren(); $("choose").hidden = true; say(""); }
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  remember("dafm-theme", theme);
}

function move(from, key) {
  const item = from.closest("li");
  const list = from.closest(".list");
  const items = [...list.querySelectorAll(".hit")];
  const place = items.indexOf(from);
  const lists = [...document.querySelectorAll(".list")].filter((other) => other.offsetParent);
  const wide = getComputedStyle(item.parentNode).gridTemplateColumns.split(" ").length;
  let goal = null;
  if (key === "ArrowDown") goal = items[place + wide];
  if (key === "ArrowUp") goal = items[place - wide];
  const step = key === "ArrowRight" ? 1 : -1;
  if (key === "ArrowRight" || key === "ArrowLeft") {
    goal = lists.length > 1
      ? lists[lists.indexOf(list) + step]?.querySelectorAll(".hit")[place] : items[place + step];
  }
  goal?.focus();
}

function onKey(event) {
  const typing = event.target.matches("input, textarea");
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if ($("keys").open) return;
  if ($("detail").open) {
    if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
      open(state.opened.title, state.opened.place + (event.key === "ArrowRight" ? 1 : -1));
    } else if (event.key === "r") useAsReference(hitOpened().image_id);
    else if (event.key === "m") judge(hitOpened().image_id, "meant");
    else if (event.key === "n") judge(hitOpened().image_id, "not");
    else return;
    event.preventDefault();
    return;
  }
  const panel = event.target.closest?.("#known, #gallery")?.id;
  if (panel && event.key === "Escape") {
    toggle(panel);
    $(`show-${panel}`).focus();
    event.preventDefault();
    return;
  }
  if (typing) return;
  const hit = event.target.closest?.(".hit");
  if (event.key === "/") $("text").focus();
  else if (event.key === "?") $("keys").showModal();
  else if (event.key === "q") toggle("known");
  else if (event.key === "g") toggle("gallery");
  else if (event.key.startsWith("Arrow") && state.answer) {
    if (hit) move(hit, event.key);
    else if (event.target === document.body || event.target === $("results")) {
      document.querySelector(".list.fused .hit, .list.shown .hit")?.focus();
    } else return;
  } else if (hit && event.key === "r") useAsReference(hit.dataset.id);
  else if (hit && event.key === "m") judge(hit.dataset.id, "meant");
  else if (hit && event.key === "n") judge(hit.dataset.id, "not");
  else return;
  event.preventDefault();
}

function listen() {
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    state.targets = new Set();
    search();
  });
  $("files").addEventListener("change", () => { addFiles($("files").files); $("files").value = ""; });
  const drop = $("drop");
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) drop.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    addDropped(event.dataTransfer);
  });
  document.addEventListener("paste", (event) => addFiles(event.clipboardData?.files ?? []));
  document.addEventListener("keydown", onKey);
  $("reset").addEventListener("click", () => {
    history.pushState(null, "", "/");
    readAddress();
    $("text").focus();
  });
  $("close").addEventListener("click", () => $("detail").close());
  $("detail").addEventListener("close", () => {
    if ($("detail").open) return; // opened again before this was told
    const { title, place } = state.opened;
    state.opened = null;
    const list = [...document.querySelectorAll(".list")].find((l) => l.dataset.title === title);
    const { activeElement } = document;
    const isLost = activeElement === document.body || $("detail").contains(activeElement);
    if (isLost) list?.querySelectorAll(".hit")[place]?.focus();
  });
  $("back").addEventListener("click", () => open(state.opened.title, state.opened.place - 1));
  $("next").addEventListener("click", () => open(state.opened.title, state.opened.place + 1));
  $("use").addEventListener("click", () => useAsReference(hitOpened().image_id));
  $("meant").addEventListener("click", () => judge(hitOpened().image_id, "meant"));
  $("not").addEventListener("click", () => judge(hitOpened().image_id, "not"));
  $("show-known").addEventListener("click", () => toggle("known"));
  $("show-gallery").addEventListener("click", () => toggle("gallery"));
  $("find-image").addEventListener("input", () => { state.gallery.start = 0; drawGallery(); });
  $("gallery-back").addEventListener("click", () => { state.gallery.start -= SHELF; drawGallery(); });
  $("gallery-next").addEventListener("click", () => { state.gallery.start += SHELF; drawGallery(); });
  $("find").addEventListener("input", () => { state.known.start = 0; drawKnown(); });
  $("known-back").addEventListener("click", () => { state.known.start -= 10; drawKnown(); });
  $("known-next").addEventListener("click", () => { state.known.start += 10; drawKnown(); });
  $("show-keys").addEventListener("click", () => $("keys").showModal());
  $("keys-close").addEventListener("click", () => $("keys").close());
  $("theme").addEventListener("click", () =>
    setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  addEventListener("popstate", readAddress);
}

async function start() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = remembered("dafm-theme", dark ? "dark" : "light");
  listen();
  drawHistory();
  try {
    state.about = await ask("/health");
    const about = state.about;
    $("about").textContent = visible(
      `${about.index}: ${about.images.toLocaleString("en")} images · ${about.providers.join(", ")} · ${about.fusion}`);
    $("k").max = Math.min(about.limits.k, about.images);
    $("columns").textContent = visible(`Filter by ${Object.entries(about.columns)
      .map(([column, kind]) => `${column} (${kind})`).join(", ")}, e.g. image_id LIKE 'a%'`);
    $("show-known").hidden = !about.known;
    $("show-known").setAttribute("aria-expanded", "false");
    await readAddress();
  } catch (error) { say(error.message, true); }
}

start();
