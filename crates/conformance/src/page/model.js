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
  clients: { name: "clients", on: true, color: "--unknown" },
  notes: { name: "transfers, suspicions", on: true, color: "--muted" },
  disk: { name: "disk", on: false, color: "--sync" },
};

const SYMBOLS = {
  message: "→", boot: "▲", crash: "✕", lost: "✕", power_loss: "⚡", cut: "╫", heal: "═", calm: "☼", transfer: "⇄",
  suspicion: "?", role: "●", decision: "◆", install: "▣", sync: "▬", invoke: "[", ask: "›", return: "]", give_up: "…",
  failure: "✖",
};

const LAYER_OF = {
  boot: "states", crash: "states", lost: "states", power_loss: "states", role: "states", cut: "cuts", heal: "cuts",
  calm: "cuts", transfer: "notes", suspicion: "notes", decision: "decisions", install: "decisions", sync: "disk",
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

function readNodeEvent(model, event, open) {
  const node = event.node;
  const { at } = event;
  const end = (spans) => { if (open[spans][node]) { open[spans][node].end = at; open[spans][node] = null; } };
  const begin = (spans, span) => { end(spans); open[spans][node] = span; model[spans].push(span); };
  switch (event.type) {
    case "boot": end("downs"); break;
    case "crash":
      end("roles");
      if (!open.downs[node]) begin("downs", { event, node, at, end: model.end, forGood: false });
      for (const sync of model.syncs.filter((sync) => sync.node === node && sync.end > at)) sync.end = at;
      break;
    case "lost":
      if (!open.downs[node]) begin("downs", { event, node, at, end: model.end });
      open.downs[node].forGood = true;
      break;
    case "role": begin("roles", { event, node, at, end: model.end, role: event.role, epoch: event.epoch }); break;
    case "decision": model.decisions.push({ event, node, at, slot: event.slot }); break;
    case "install": case "transfer": case "suspicion": model.marks.push({ event, node, at }); break;
    case "sync": model.syncs.push({ event, node, at, end: event.until }); break;
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
    marks: [], syncs: [], operations: [], lines: [], failure: null,
  };
  const open = { roles: [], downs: [], operations: [], cut: null };
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
        } else if (event.type === "calm") model.lines.push({ event, at: event.at, label: "faults end" });
        break;
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
    case "failure": return `${event.property} failed`;
    default: return event.type;
  }
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
  if (event.operation) lines.push(`operation: ${event.operation.text}`);
  return lines;
}
