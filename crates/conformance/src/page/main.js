// What the reader does: zoom, pan, step, filter, find.

const $ = (id) => document.getElementById(id);

const model = buildModel(JSON.parse($("run").textContent));
const view = { begin: 0, end: model.end };
const diagram = new Diagram($("diagram"), model, view);
let overviewTime = () => 0;
let planned = false;

function paint() {
  planned = false;
  diagram.draw();
  overviewTime = drawOverview($("overview"), model, view, diagram.selected);
}

function repaint() {
  if (!planned) {
    planned = true;
    requestAnimationFrame(paint);
  }
}

function look(begin, end) {
  const span = Math.max(Math.min(end - begin, model.end * 1.04), 2e4);
  view.begin = Math.max(-0.02 * model.end, Math.min(begin, model.end * 1.02 - span));
  view.end = view.begin + span;
  remember();
  repaint();
}

/** What the keys zoom around: the chosen event if it is in sight. */
function middle() {
  const at = diagram.selected?.at ?? -1;
  return at > view.begin && at < view.end ? at : (view.begin + view.end) / 2;
}

function zoom(factor, around = middle()) {
  const span = (view.end - view.begin) * factor;
  const part = (around - view.begin) / (view.end - view.begin);
  look(around - span * part, around + span * (1 - part));
}

function pan(part) {
  const shift = (view.end - view.begin) * part;
  look(view.begin + shift, view.end + shift);
}

let remembering = 0;
function remember() {
  clearTimeout(remembering);
  remembering = setTimeout(() => {
    const place = new URLSearchParams({ from: (view.begin / MS).toFixed(3), to: (view.end / MS).toFixed(3) });
    if (diagram.selected) place.set("event", diagram.selected.index);
    try { history.replaceState(null, "", `#${place}`); } catch { /* Some browsers forbid it for files. */ }
  }, 300);
}

/** Where to begin: before the failure, or where the first faults are, with as much as can be read at once. */
function firstLook() {
  const many = 130;
  const times = model.messages.map((message) => message.at);
  if (times.length <= many) return look(0, model.end);
  const span = (first) => [times[Math.max(first, 0)], times[Math.min(Math.max(first, 0) + many, times.length - 1)]];
  if (model.failure) {
    const before = times.findLastIndex((time) => time <= model.failure.at);
    const [begin, end] = span(before - many + 10);
    return look(begin, Math.max(end, model.failure.at) + (end - begin) * 0.08);
  }
  const fault = model.cuts[0]?.at ?? model.downs[0]?.at ?? 0;
  const [begin, end] = span(times.findIndex((time) => time >= fault) - Math.floor(many / 3));
  look(begin, end);
}

// ---- events one by one

function visibleEvents() {
  return model.events.filter((event) => diagram.shows(event) && (diagram.find === "" || diagram.matches(event)));
}

function choose(event, follow = true) {
  diagram.selected = event;
  if (event && follow) {
    const span = view.end - view.begin;
    if (event.at < view.begin + span * 0.06 || event.at > view.end - span * 0.06) look(event.at - span * 0.4, event.at + span * 0.6);
  }
  remember();
  showSide();
  repaint();
}

function step(by) {
  const events = visibleEvents();
  if (events.length === 0) return;
  const here = diagram.selected;
  let place = here ? events.findIndex((event) => event.index >= here.index) : events.findIndex((event) => event.at >= view.begin);
  if (place < 0) place = events.length;
  if (here) place += by > 0 && events[place]?.index !== here.index ? by - 1 : by;
  choose(events[Math.max(0, Math.min(events.length - 1, place))]);
}

const FAULTS = new Set(["crash", "lost", "power_loss", "cut", "failure", "stop", "rot", "pause", "act"]);

function nextFault(direction) {
  const from = diagram.selected?.index ?? model.events.findIndex((event) => event.at >= view.begin);
  const faults = model.events.filter((event) => FAULTS.has(event.type));
  const next = direction > 0 ? faults.find((event) => event.index > from) : faults.findLast((event) => event.index < from);
  if (next) choose(next);
}

// ---- the side: the chosen event, and what happens around it

function element(tag, attributes = {}, ...children) {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...children);
  return made;
}

function colorOf(event) {
  if (event.type === "message") return event.lost ? "--lost" : model.kindOf.get(event.kind).color;
  if (event.type === "role") return `--${event.role.toLowerCase()}`;
  if (event.type === "install") return "--decision";
  if (["crash", "lost", "power_loss", "failure"].includes(event.type)) return "--failure";
  return LAYERS[layerOf(event)]?.color ?? "--muted";
}

function showSide() {
  const events = visibleEvents();
  const here = diagram.selected;
  let place = here ? events.findIndex((event) => event.index >= here.index) : events.findIndex((event) => event.at >= (view.begin + view.end) / 2);
  if (place < 0) place = events.length - 1;
  $("place").textContent = here ? `event ${place + 1} of ${events.length}` : `${events.length} events`;
  const detail = here
    ? [element("b", { textContent: `${ms(here.at, 6)}  ${headline(here)}` }), ...smallPrint(here).map((textContent) => element("div", { className: "text", textContent }))]
    : [element("span", { className: "muted", textContent: "Click anything, or step with ← and →." })];
  $("detail").replaceChildren(...detail);
  const rows = Math.max(6, Math.floor($("list").clientHeight / 22));
  const first = Math.max(0, Math.min(place - Math.floor(rows * 0.4), events.length - rows));
  $("list").replaceChildren(...events.slice(first, first + rows).map((event) => {
    const symbol = element("span", { className: "sym", textContent: event.type === "message" && event.lost ? "✕" : SYMBOLS[event.type] });
    symbol.style.setProperty("--c", `var(${colorOf(event)})`);
    const row = element("div", { className: event === here ? "row here" : "row", onclick: () => choose(event) },
      element("time", { textContent: (event.at / MS).toFixed(3) }), symbol, element("span", { textContent: headline(event), title: event.text ?? "" }));
    return row;
  }));
}

function showTip(hit, x, y) {
  const tip = $("tip");
  tip.hidden = !hit;
  if (!hit) return;
  const lines = smallPrint(hit.event);
  if (hit.operation) {
    const { state, answer, slot, asks, end, at } = hit.operation;
    const words = { done: `learns ${answer} after ${ms(end - at)}`, unknown: "never learns what came of it", open: "still waits at the end" };
    lines.push(words[state] + (slot == null ? "" : `, slot ${slot}`), `asked ${asks.map((ask) => `n${ask.node}`).join(", ")}`);
  }
  tip.replaceChildren(element("b", { textContent: headline(hit.event) }), element("div", { className: "muted", textContent: `at ${ms(hit.event.at, 6)}` }),
    ...lines.map((textContent) => element("div", { className: "text", textContent })));
  const [width, height] = [tip.offsetWidth, tip.offsetHeight];
  tip.style.left = `${x + 16 + width > diagram.width ? Math.max(4, x - width - 12) : x + 16}px`;
  tip.style.top = `${y + 16 + height > diagram.height ? Math.max(4, y - height - 12) : y + 16}px`;
}

// ---- header and chips

function chip(words, count, color, state, change) {
  const made = element("button", { className: "chip" }, element("i"), words);
  if (count !== null) made.append(element("small", { textContent: count.toLocaleString("en") }));
  made.style.setProperty("--c", `var(${color})`);
  const show = () => made.classList.toggle("off", !state.on);
  made.onclick = (event) => { change(event); refreshChips.forEach((refresh) => refresh()); showSide(); repaint(); };
  refreshChips.push(show);
  show();
  return made;
}
const refreshChips = [];

function fillHeader() {
  const { run } = model;
  $("title").textContent = `${run.algorithm} · seed ${run.replay.match(/--seed (\d+)/)?.[1] ?? run.seed}`;
  $("verdict").textContent = run.failure ? `FAILED: ${run.failure.property}` : "every property held";
  $("verdict").classList.toggle("failed", run.failure !== null);
  const left = run.omitted > 0 ? `, the oldest ${run.omitted.toLocaleString("en")} left out` : "";
  $("facts").textContent = `${run.nodes} nodes, ${run.clients} clients, ${(run.simulated / 1e9).toFixed(2)} s, ${run.events.length.toLocaleString("en")} events${left} · hash ${run.hash}`;
  $("replay").textContent = run.replay;
  if (run.failure) {
    $("failure").hidden = false;
    $("failure").textContent = `at ${ms(run.failure.at)}: ${run.failure.detail}`;
  }
  const counts = countLayers(model);
  for (const [key, layer] of Object.entries(LAYERS)) {
    // What never happens needs no switch.
    if (counts.has(key)) $("layers").append(chip(layer.name, counts.get(key), layer.color, layer, () => { layer.on = !layer.on; }));
  }
  for (const kind of model.kinds) {
    $("kinds").append(chip(kind.name, kind.count, kind.color, kind, (event) => {
      if (!event.shiftKey && !event.altKey) { kind.on = !kind.on; return; }
      const alone = model.kinds.every((other) => other.on === (other === kind));
      for (const other of model.kinds) other.on = alone || other === kind;
    }));
  }
}

const HELP = `wheel, + -    zoom                      drag, [ ]     move
← →           one event back, on        with Shift    ten
N, Shift N    next, last fault          F             the failure
0             the whole run             1             first look
/             find in texts             Esc           nothing chosen
T             light or dark             P             plan and counts
node's name   only its messages         double click  zoom in
kind + Shift  only this kind

──►   a message                 ┄┄✕   it is lost; early, if its link is cut
┈┈►   it came again             ──○   its receiver was down
◆ 12  slot 12 is decided        ▣     a node takes over a snapshot
thick lane    leads, or would like to   thin lane     follows
hatched band  links are cut             dotted line   one link is down for a moment
hatched box   the node is down          tinted box    it stands still
wave          its disk is slow          ◷     its clock is not right
◌     a bit flips on its disk   □     it cannot start, for its disk
⇄     lead is to change         ?     it suspects or trusts another
☠     it does what the protocol does not ask of it`;

function sheet(text) {
  const same = $("sheet").textContent === text && !$("sheet").hidden;
  $("sheet").textContent = text;
  $("sheet").hidden = same;
}

function planText() {
  const counts = model.run.counts.map(([name, count]) => `${String(count).padStart(9)} ${name}`).join("\n");
  return `${counts}\n${String(model.run.steps).padStart(9)} steps of the simulator\n\n${model.run.plan}`;
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  readPalette();
  repaint();
}

function otherTheme() {
  setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
}

// ---- hands

function place(event) {
  const box = event.currentTarget.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

let drag = null;
$("diagram").addEventListener("pointerdown", (event) => {
  const [x, y] = place(event);
  drag = { x, moved: false, begin: view.begin, end: view.end, y };
  event.currentTarget.setPointerCapture(event.pointerId);
});
$("diagram").addEventListener("pointermove", (event) => {
  const [x, y] = place(event);
  if (drag) {
    const shift = ((x - drag.x) / (diagram.width - LEFT)) * (drag.end - drag.begin);
    drag.moved ||= Math.abs(x - drag.x) > 3;
    if (drag.moved) {
      event.currentTarget.classList.add("dragging");
      showTip(null);
      look(drag.begin - shift, drag.end - shift);
    }
    return;
  }
  const hit = x > LEFT - 6 ? diagram.at(x, y) : null;
  if (diagram.hover !== (hit?.event ?? null)) {
    diagram.hover = hit?.event ?? null;
    repaint();
  }
  showTip(hit, x, y);
});
$("diagram").addEventListener("pointerup", (event) => {
  event.currentTarget.classList.remove("dragging");
  const was = drag;
  drag = null;
  if (!was || was.moved) { showSide(); return; }
  if (was.x < LEFT - 6) {
    const node = Math.floor((was.y - TOP) / diagram.gap) + 1;
    if (node >= 1 && node <= model.run.nodes && was.y < diagram.clientsTop) diagram.focus = diagram.focus === node ? null : node;
    showSide();
    repaint();
    return;
  }
  choose(diagram.at(was.x, was.y)?.event ?? null, false);
});
$("diagram").addEventListener("pointerleave", () => { diagram.hover = null; showTip(null); repaint(); });
$("diagram").addEventListener("dblclick", (event) => zoom(0.35, diagram.time(place(event)[0])));
$("diagram").addEventListener("wheel", (event) => {
  event.preventDefault();
  if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan((event.deltaX || event.deltaY) / 900);
  else zoom(Math.exp(event.deltaY / 480), diagram.time(place(event)[0]));
}, { passive: false });

let sliding = false;
function slide(event) {
  const middle = overviewTime(place(event)[0]);
  const half = (view.end - view.begin) / 2;
  look(middle - half, middle + half);
}
$("overview").addEventListener("pointerdown", (event) => { sliding = true; event.currentTarget.setPointerCapture(event.pointerId); slide(event); });
$("overview").addEventListener("pointermove", (event) => { if (sliding) slide(event); });
$("overview").addEventListener("pointerup", () => { sliding = false; showSide(); });
$("overview").addEventListener("wheel", (event) => { event.preventDefault(); zoom(Math.exp(event.deltaY / 480)); }, { passive: false });

const KEYS = {
  ArrowRight: (event) => step(event.shiftKey ? 10 : 1),
  ArrowLeft: (event) => step(event.shiftKey ? -10 : -1),
  "+": () => zoom(0.6), "=": () => zoom(0.6), "-": () => zoom(1 / 0.6),
  "[": () => pan(-0.3), "]": () => pan(0.3),
  0: () => look(-0.01 * model.end, model.end * 1.01), 1: firstLook,
  n: () => nextFault(1), N: () => nextFault(-1),
  f: () => { if (model.failure) choose(model.failure); },
  t: otherTheme, p: () => sheet(planText()), "?": () => sheet(HELP), "/": () => $("search").focus(),
  Escape: () => { $("sheet").hidden = true; diagram.focus = null; choose(null); },
};
addEventListener("keydown", (event) => {
  if (event.target === $("search")) {
    if (event.key === "Escape" || event.key === "Enter") event.target.blur();
    return;
  }
  const act = event.ctrlKey || event.metaKey || event.altKey ? null : KEYS[event.key] ?? KEYS[event.key.toLowerCase()];
  if (act) {
    event.preventDefault();
    act(event);
  }
});
$("search").addEventListener("input", (event) => { diagram.find = event.target.value.trim().toLowerCase(); showSide(); repaint(); });
$("back").onclick = () => step(-1);
$("forward").onclick = () => step(1);
$("theme").onclick = otherTheme;
$("help-button").onclick = () => sheet(HELP);
$("plan-button").onclick = () => sheet(planText());
$("copy").onclick = async () => {
  try {
    await navigator.clipboard.writeText(model.run.replay);
    $("copy").textContent = "copied";
  } catch {
    getSelection().selectAllChildren($("replay"));
  }
};
addEventListener("resize", () => { showSide(); repaint(); });

// ---- begin

function begin() {
  const wish = new URLSearchParams(location.hash.slice(1));
  setTheme(wish.get("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
  fillHeader();
  const [from, to] = [parseFloat(wish.get("from")), parseFloat(wish.get("to"))];
  if (from < to) look(from * MS, to * MS);
  else firstLook();
  diagram.selected = model.events[Number(wish.get("event") ?? -1)] ?? model.failure;
  if (wish.get("show") === "keys") sheet(HELP);
  if (wish.get("show") === "plan") sheet(planText());
  showSide();
  paint();
  Object.assign(document.documentElement.dataset, { rendered: "ok", events: model.events.length, drawn: diagram.drawn });
}

begin();
