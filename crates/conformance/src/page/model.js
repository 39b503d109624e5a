"use strict";
// What the page knows: the run's events, sorted into the things that are drawn.

const MS = 1e6;

addEventListener("error", (event) => {
  document.documentElement.dataset.rendered = `failed: ${event.message} (line ${event.lineno})`;
});

const LAYERS = {
  messages: { name: "messages", on: true, color: "--k0" },
  lost: { name: "lost", on: true, color: "--lost" },
  decisions: { name: "decisions", on: true, color: "--decision" },
  states: { name: "roles & crashes", on: true, color: "--leader" },
  cuts: { name: "partitions", on: true, color: "--cut" },
  flaps: { name: "flapping links", on: true, color: "--flap" },
  machines: { name: "pauses & clocks", on: true, color: "--pause" },
  disks: { name: "disk faults", on: true, color: "--disk" },
  acts: { name: "adversary", on: true, color: "--act" },
  notes: { name: "transfers & suspicions", on: true, color: "--note" },
  clients: { name: "clients", on: true, color: "--unknown" },
  syncs: { name: "disk syncs", on: false, color: "--sync" },
};

const SYMBOLS = {
  message: "→", boot: "▲", crash: "✕", lost: "✕", power_loss: "⚡", cut: "╫", heal: "═", calm: "☼", transfer: "⇄",
  suspicion: "?", role: "●", decision: "◆", install: "▣", sync: "▬", invoke: "[", ask: "›", return: "]", give_up: "…",
  failure: "✖", stop: "■", no_start: "□", slow_disk: "≋", rot: "◌", pause: "‖", resume: "▷", clock: "◷", flap: "╌", act: "☠",
};

const LAYER_OF = {
  boot: "states", crash: "states", lost: "states", power_loss: "states", role: "states", cut: "cuts", heal: "cuts",
  calm: "cuts", transfer: "notes", suspicion: "notes", decision: "decisions", install: "decisions", sync: "syncs",
  stop: "disks", no_start: "disks", slow_disk: "disks", rot: "disks", pause: "machines", resume: "machines",
  clock: "machines", flap: "flaps", act: "acts",
  invoke: "clients", ask: "clients", return: "clients", give_up: "clients", failure: "failure",
};

function names(nodes) {
  return nodes.map((node) => `n${node}`).join(" ");
}

/** Who can still talk to whom, in words. */
function describeCut(event, nodes) {
  const cut = new Set(event.links.map(([from, to]) => `${from}>${to}`));
  const all = Array.from({ length: nodes }, (_, index) => index + 1);
  const hears = (from, to) => !cut.has(`${from}>${to}`);
  const left = new Set(all);
  const sides = [];
  while (left.size > 0) {
    const side = [left.values().next().value];
    left.delete(side[0]);
    for (const from of side) {
      for (const to of [...left]) {
        if (hears(from, to) || hears(to, from)) { left.delete(to); side.push(to); }
      }
    }
    sides.push(side.sort((a, b) => a - b));
  }
  if (sides.length > 1) return `${event.manner}: ${sides.map(names).join("  ∥  ")}`;
  const deaf = all.filter((to) => all.every((from) => from === to || !hears(from, to)));
  const mute = all.filter((from) => all.every((to) => from === to || !hears(from, to)));
  if (deaf.length > 0) return `${event.manner}: ${names(deaf)} hears nobody`;
  if (mute.length > 0) return `${event.manner}: nobody hears ${names(mute)}`;
  return `${event.manner}: ${cut.size} links cut`;
}

/** A replied kind takes its question's colour, so that a conversation is one colour. */
function colorKinds(messages) {
  const counts = new Map();
  for (const message of messages) counts.set(message.kind, (counts.get(message.kind) ?? 0) + 1);
  const families = [];
  const kinds = [...counts].sort((a, b) => b[1] - a[1]).map(([name, count]) => {
    const family = name.replace(/Reply$|Response$|Ack$/, "");
    if (!families.includes(family)) families.push(family);
    return { name, count, family, reply: family !== name, on: true };
  });
  for (const kind of kinds) kind.color = `--k${Math.min(families.indexOf(kind.family), 7)}`;
  return kinds;
}

function median(numbers) {
  return numbers.length === 0 ? 1 : numbers.sort((a, b) => a - b)[numbers.length >> 1];
}

const STOPS = { sync: "a sync failed", full: "its disk is full" };

function readNodeEvent(model, event, open) {
  const node = event.node;
  const { at } = event;
  const end = (spans) => { if (open[spans][node]) { open[spans][node].end = at; open[spans][node] = null; } };
  const begin = (spans, span) => { end(spans); open[spans][node] = span; model[spans].push(span); };
  switch (event.type) {
    case "boot": end("downs"); end("pauses"); break;
    case "crash": case "stop":
      end("roles");
      end("pauses");
      if (!open.downs[node]) begin("downs", { event, node, at, end: model.end, forGood: false, why: STOPS[event.fault] ?? "" });
      for (const sync of open.syncs[node] ?? []) sync.end = Math.min(sync.end, at);
      open.syncs[node] = [];
      break;
    case "lost":
      if (!open.downs[node]) begin("downs", { event, node, at, end: model.end, why: "" });
      open.downs[node].forGood = true;
      break;
    case "rot":
      model.marks.push({ event, node, at });
      if (event.refused && open.downs[node]) Object.assign(open.downs[node], { forGood: true, why: "its disk is damaged" });
      break;
    case "pause": begin("pauses", { event, node, at, end: model.end }); break;
    case "resume": end("pauses"); break;
    case "slow_disk": {
      // A disk that is slow already is now slow by another measure, and for as long as either says.
      const before = open.slows[node];
      const end = Math.min(Math.max(event.until, before?.end ?? 0), model.end);
      if (before) before.end = Math.min(before.end, at);
      open.slows[node] = { event, node, at, end };
      model.slows.push(open.slows[node]);
      break;
    }
    case "role": begin("roles", { event, node, at, end: model.end, role: event.role, epoch: event.epoch }); break;
    case "decision": model.decisions.push({ event, node, at, slot: event.slot }); break;
    case "install": case "transfer": case "suspicion": case "no_start": case "clock": case "act":
      model.marks.push({ event, node, at });
      break;
    case "sync": {
      const sync = { event, node, at, end: event.until };
      model.syncs.push(sync);
      open.syncs[node] = [...(open.syncs[node] ?? []).filter((other) => other.end > at), sync];
      break;
    }
  }
}

function readClientEvent(model, event, open) {
  const { at, client } = event;
  const operation = open.operations[client];
  if (event.type === "invoke") {
    open.operations[client] = { event, client, at, end: model.end, asks: [], state: "open", answer: "" };
    model.operations.push(open.operations[client]);
  } else if (operation) {
    event.operation = operation.event;
    if (event.type === "ask") { operation.asks.push({ at, node: event.node }); return; }
    operation.end = at;
    operation.state = event.type === "return" ? "done" : "unknown";
    operation.answer = event.text ?? "never learnt";
    operation.slot = event.slot;
    open.operations[client] = null;
  }
}

function buildModel(run) {
  const model = {
    run, events: run.events, end: Math.max(run.simulated, 1), messages: [], roles: [], downs: [], cuts: [], decisions: [],
    marks: [], syncs: [], operations: [], lines: [], failure: null, pauses: [], slows: [], flaps: [],
  };
  const open = { roles: [], downs: [], operations: [], cut: null, pauses: [], syncs: [], slows: [] };
  run.events.forEach((event, index) => {
    event.index = index;
    switch (event.type) {
      case "message": {
        const last = event.copies.reduce((latest, copy) => Math.max(latest, copy.at), event.at);
        model.messages.push(event);
        event.end = last;
        break;
      }
      case "cut": case "heal": case "calm":
        if (open.cut) { open.cut.end = event.at; open.cut = null; }
        if (event.type === "cut") {
          open.cut = { event, at: event.at, end: model.end, label: describeCut(event, run.nodes) };
          model.cuts.push(open.cut);
        } else if (event.type === "calm") {
          model.lines.push({ event, at: event.at, label: "faults end" });
          for (const span of [...model.flaps, ...model.slows]) span.end = Math.min(span.end, event.at);
        }
        break;
      case "flap": model.flaps.push({ event, at: event.at, end: Math.min(event.until, model.end) }); break;
      case "power_loss": model.lines.push({ event, at: event.at, label: "⚡ power loss" }); break;
      case "failure": model.failure = event; break;
      case "invoke": case "ask": case "return": case "give_up": readClientEvent(model, event, open); break;
      default: readNodeEvent(model, event, open);
    }
  });
  model.kinds = colorKinds(model.messages);
  model.kindOf = new Map(model.kinds.map((kind) => [kind.name, kind]));
  const flights = model.messages.filter((message) => message.copies.length > 0);
  model.flight = median(flights.slice(0, 4000).map((message) => message.copies[0].at - message.at));
  // What is still on its way when the run ends is drawn as far as the end.
  for (const message of model.messages) {
    if (message.lost || message.copies.length === 0) message.end = message.at + model.flight;
  }
  model.slots = new Map();
  for (const decision of model.decisions) {
    if (!model.slots.has(decision.slot)) model.slots.set(decision.slot, []);
    model.slots.get(decision.slot).push(decision);
  }
  return model;
}

/** How many events each layer has. */
function countLayers(model) {
  const counts = new Map();
  for (const event of model.events) counts.set(layerOf(event), (counts.get(layerOf(event)) ?? 0) + 1);
  return counts;
}

function layerOf(event) {
  if (event.type !== "message") return LAYER_OF[event.type] ?? "notes";
  return event.lost ? "lost" : "messages";
}

function ms(time, digits = 3) {
  return `${(time / MS).toFixed(digits)} ms`;
}

/** One line that says what happened. */
function headline(event) {
  switch (event.type) {
    case "message": return `n${event.from} → n${event.to} ${event.kind}`;
    case "boot": return `n${event.node} boots`;
    case "crash": return `n${event.node} crashes`;
    case "lost": return `n${event.node} is lost for good`;
    case "power_loss": return "every node loses power";
    case "cut": return describeCut(event, model.run.nodes);
    case "heal": return "the links are whole";
    case "calm": return "the faults are over";
    case "transfer": return `n${event.node} is asked to hand over${event.to ? ` to n${event.to}` : ""}`;
    case "suspicion": return `n${event.node} ${event.suspected ? "suspects" : "trusts"} n${event.peer}`;
    case "role": return `n${event.node} is ${event.role.toLowerCase()} in epoch ${event.epoch}`;
    case "decision": return `n${event.node} decides slot ${event.slot}`;
    case "install": return `n${event.node} installs a snapshot through slot ${event.through}`;
    case "sync": return `n${event.node} syncs for ${ms(event.until - event.at)}`;
    case "invoke": return `client ${event.client} begins: ${event.text}`;
    case "ask": return `client ${event.client} asks n${event.node}`;
    case "return": return `client ${event.client} learns ${event.text}`;
    case "give_up": return `client ${event.client} gives up`;
    case "stop": return `n${event.node} stops: ${STOPS[event.fault] ?? event.fault}`;
    case "no_start": return `n${event.node} does not start: its disk refuses`;
    case "slow_disk": return `the disk of n${event.node} is ${event.times} times slower for ${ms(event.until - event.at, 1)}`;
    case "rot": return event.refused ? `a bit flips on the disk of n${event.node}, which refuses to start` : `the disk of n${event.node} rots, to no harm`;
    case "pause": return `n${event.node} stands still${event.clock_stops ? ", and so does its clock" : ""}`;
    case "resume": return `n${event.node} goes on; ${event.waited} events waited for it`;
    case "clock": return `the clock of n${event.node} shows ${clockText(event)}`;
    case "flap": return `the link n${event.from} → n${event.to} is down for ${ms(event.until - event.at, 1)}`;
    case "act": return `n${event.node} ${event.class}: ${event.text}`;
    case "failure": return `${event.property} failed`;
    default: return event.type;
  }
}

/** By how much a clock is wrong. */
function clockText(event) {
  const drift = (event.rate_ppm - 1e6) / 1e4;
  const pace = Math.abs(drift) < 0.0001 ? "at the right pace" : `${Math.abs(drift).toFixed(2)} % too ${drift > 0 ? "fast" : "slow"}`;
  return `${(event.shows / 1e9).toFixed(3)} s, ${pace}`;
}

/** What became of a message, in words. */
function fateOf(event) {
  const losses = { cut: "lost: the link is cut", chance: "lost by chance", flap: "lost: the link is down for a moment",
    burst: "lost: the link is in a bad state", queue: "lost: too much waits before the link", corrupted: "damaged on the way, and dropped" };
  if (event.lost) return losses[event.lost] ?? "lost";
  if (event.copies.length === 0) return "on its way when the run ended";
  return event.copies.map((copy, index) => {
    const after = `${index > 0 ? "again " : ""}after ${ms(copy.at - event.at)}`;
    return copy.heard ? `arrives ${after}` : `comes ${after}, and the receiver is down`;
  }).join("; ");
}

/** The small print of an event. */
function smallPrint(event) {
  const lines = [];
  if (event.type === "message") lines.push(fateOf(event), event.text);
  if (event.type === "decision") lines.push(`${event.text}${event.id ? `  ·  ${event.id}` : ""}`);
  if (event.type === "failure") lines.push(event.detail);
  if (event.type === "return" && event.slot != null) lines.push(`took effect at slot ${event.slot}`);
  if (["stop", "no_start", "rot"].includes(event.type)) lines.push(event.detail);
  if (event.operation) lines.push(`operation: ${event.operation.text}`);
  return lines;
}
