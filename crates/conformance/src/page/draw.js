// The picture: lanes from left to right, messages between them, clients below.

const LEFT = 92;
const TOP = 30;
const ROW = 17;

const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
const ROLE_WIDTH = { Leader: 9, Candidate: 6 };

/** How far a message comes that is lost: not into a full queue, hardly into a cut link, and damaged almost to its receiver. */
const LOST_AT = { queue: 0.14, cut: 0.28, flap: 0.28, chance: 0.56, burst: 0.56, corrupted: 0.86 };

let palette = {};

function readPalette() {
  const style = getComputedStyle(document.documentElement);
  palette = new Proxy({}, {
    get(known, name) { return known[name] ??= style.getPropertyValue(name).trim() || "#888"; },
  });
}

function roleColor(role) {
  return palette[`--${role.toLowerCase()}`];
}

/** Fits a canvas to its box and gives it back ready to draw in CSS pixels. */
function prepare(canvas) {
  const scale = devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

function hatch(context, color, gap, width) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = gap;
  const pen = tile.getContext("2d");
  pen.strokeStyle = color;
  pen.lineWidth = width;
  pen.beginPath();
  for (const shift of [-gap, 0, gap]) { pen.moveTo(shift, gap); pen.lineTo(shift + gap, 0); }
  pen.stroke();
  return context.createPattern(tile, "repeat");
}

/** A round step of time that leaves about `room` pixels between two lines. */
function niceStep(span, width, room) {
  const raw = (span * room) / width;
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= raw);
}

class Diagram {
  constructor(canvas, model, view) {
    Object.assign(this, { canvas, model, view, hits: [], focus: null, hover: null, selected: null, find: "" });
  }

  layout() {
    const { nodes, clients } = this.model.run;
    const rows = LAYERS.clients.on ? clients : 0;
    this.clientsTop = this.height - rows * ROW - (rows > 0 ? 10 : 0);
    const room = this.clientsTop - TOP;
    this.gap = room / nodes;
    this.laneY = (node) => TOP + this.gap * (node - 0.5);
    this.clientY = (client) => this.clientsTop + (client + 0.5) * ROW + 2;
    const scale = (this.width - LEFT - 12) / (this.view.end - this.view.begin);
    this.x = (time) => LEFT + (time - this.view.begin) * scale;
    this.time = (x) => this.view.begin + (x - LEFT) / scale;
  }

  sees(at, end) { return end >= this.view.begin && at <= this.view.end; }

  /** Whether the chips, the focus and the search leave this event in. */
  shows(event) {
    const layer = layerOf(event);
    if (layer !== "failure" && !LAYERS[layer].on) return false;
    if (event.type === "message" && !this.model.kindOf.get(event.kind).on) return false;
    if (this.focus === null) return true;
    if (event.type === "message" || event.type === "flap") return event.from === this.focus || event.to === this.focus;
    return event.node === undefined || event.node === this.focus;
  }

  matches(event) {
    if (this.find === "") return true;
    return `${headline(event)} ${event.text ?? ""} ${event.id ?? ""}`.toLowerCase().includes(this.find);
  }

  draw() {
    const { context, width, height } = prepare(this.canvas);
    Object.assign(this, { c: context, width, height, hits: [] });
    this.layout();
    context.textBaseline = "middle";
    this.drawRuler();
    context.save();
    context.beginPath();
    context.rect(LEFT - 6, 0, width - LEFT + 6, height);
    context.clip();
    if (LAYERS.cuts.on) this.drawCuts();
    this.drawLanes();
    this.drawSpans();
    if (LAYERS.syncs.on) this.drawSyncs();
    this.drawMessages();
    if (LAYERS.decisions.on) this.drawDecisions();
    this.drawMarks();
    if (LAYERS.clients.on) this.drawClients();
    this.drawLines();
    this.drawHighlights();
    context.restore();
    this.drawNames();
  }

  text(text, x, y, color, size = 11, weight = 400, align = "left") {
    this.c.font = `${weight} ${size}px ${FONT}`;
    this.c.fillStyle = color;
    this.c.textAlign = align;
    this.c.fillText(text, x, y);
  }

  /** A label on a ground of its own, so that lines behind it do not cross it out. */
  label(text, x, y, color, size = 10.5, weight = 600) {
    this.c.font = `${weight} ${size}px ${FONT}`;
    const room = this.c.measureText(text).width;
    this.c.globalAlpha = 0.86;
    this.c.fillStyle = palette["--bg"];
    this.c.fillRect(x - 3, y - size * 0.68, room + 6, size * 1.36);
    this.c.globalAlpha = 1;
    this.text(text, x, y, color, size, weight);
    return room + 8;
  }

  drawRuler() {
    const { c, view } = this;
    const step = niceStep(view.end - view.begin, this.width - LEFT, 110);
    const digits = Math.max(0, Math.min(6, -Math.floor(Math.log10(step / MS) + 1e-9)));
    c.strokeStyle = palette["--rule"];
    c.lineWidth = 1;
    for (let time = Math.ceil(Math.max(view.begin, 0) / step) * step; time <= view.end; time += step) {
      const x = Math.round(this.x(time)) + 0.5;
      if (x < LEFT) continue;
      c.beginPath();
      c.moveTo(x, TOP - 8);
      c.lineTo(x, this.height);
      c.stroke();
      const words = ms(time, digits);
      this.c.font = `400 11px ${FONT}`;
      if (x + this.c.measureText(words).width / 2 < this.width) this.text(words, x, 12, palette["--muted"], 11, 400, "center");
    }
  }

  drawCuts() {
    const pattern = hatch(this.c, palette["--cut"], 9, 1);
    for (const cut of this.model.cuts) {
      if (!this.sees(cut.at, cut.end)) continue;
      const x = this.x(cut.at);
      const room = Math.max(this.x(cut.end) - x, 2);
      const [top, depth] = [TOP, this.clientsTop - TOP - 4];
      this.c.globalAlpha = 0.07;
      this.c.fillStyle = palette["--cut"];
      this.c.fillRect(x, top, room, depth);
      this.c.globalAlpha = 0.16;
      this.c.fillStyle = pattern;
      this.c.fillRect(x, top, room, depth);
      this.c.globalAlpha = 0.8;
      this.c.fillStyle = palette["--cut"];
      this.c.fillRect(x, top, room, 3);
      this.c.globalAlpha = 1;
      this.hits.push({ event: cut.event, box: [x, top - 4, x + room, top + 18] });
      const from = Math.max(x, LEFT);
      this.c.font = `600 10.5px ${FONT}`;
      if (this.c.measureText(cut.label).width + 14 < x + room - from) {
        this.label(cut.label, from + 7, top + 12, palette["--cut"]);
      }
    }
  }

  drawLanes() {
    const { c, model } = this;
    for (let node = 1; node <= model.run.nodes; node += 1) {
      const y = this.laneY(node);
      c.globalAlpha = this.focus === null || this.focus === node ? 1 : 0.35;
      c.fillStyle = palette["--rule"];
      c.fillRect(LEFT, y - 0.5, this.width, 1);
      c.globalAlpha = 1;
    }
    if (!LAYERS.states.on) return;
    for (const role of model.roles) if (this.sees(role.at, role.end)) this.drawRole(role);
    const pattern = hatch(c, palette["--muted"], 7, 1.1);
    for (const down of model.downs) if (this.sees(down.at, down.end)) this.drawDown(down, pattern);
  }

  drawRole(role) {
    const { c } = this;
    const [x, y] = [this.x(role.at), this.laneY(role.node)];
    const room = Math.max(this.x(role.end) - x, 1);
    const thick = ROLE_WIDTH[role.role] ?? 4;
    c.globalAlpha = this.focus === null || this.focus === role.node ? 1 : 0.35;
    c.fillStyle = roleColor(role.role);
    c.fillRect(x, y - thick / 2, room, thick);
    if (room > 2) {
      c.fillStyle = palette["--ink"];
      c.fillRect(x - 0.5, y - thick / 2 - 3, 1, thick + 6);
    }
    c.globalAlpha = 1;
    this.hits.push({ event: role.event, box: [x - 2, y - 6, x + room, y + 6], ground: true });
    const from = Math.max(x, LEFT);
    const seen = x + room - from;
    const words = role.role === "Follower" ? `e${role.epoch}` : `${role.role.toLowerCase()} · e${role.epoch}`;
    c.font = `600 10.5px ${FONT}`;
    if (c.measureText(words).width + 12 < seen) {
      this.labels ??= [];
      const color = role.role === "Follower" ? palette["--muted"] : roleColor(role.role);
      this.labels.push([words, from + 5, y - 14, color]);
    }
  }

  drawDown(down, pattern) {
    const { c } = this;
    const [x, y] = [this.x(down.at), this.laneY(down.node)];
    const room = Math.max(this.x(down.end) - x, 2);
    const half = Math.min(this.gap * 0.3, 24);
    c.fillStyle = palette["--down"];
    c.globalAlpha = 0.55;
    c.fillRect(x, y - half, room, half * 2);
    c.globalAlpha = 0.5;
    c.fillStyle = pattern;
    c.fillRect(x, y - half, room, half * 2);
    c.globalAlpha = 1;
    this.cross(x, y, 5, palette["--failure"], 2.2);
    if (down.end < this.model.end) {
      c.fillStyle = palette["--ok"];
      c.beginPath();
      c.moveTo(x + room - 5, y + 5);
      c.lineTo(x + room + 5, y + 5);
      c.lineTo(x + room, y - 5);
      c.fill();
    }
    this.hits.push({ event: down.event, box: [x - 5, y - half, x + room, y + half], ground: true });
    const words = [down.forGood ? "lost for good" : "down", down.why].filter(Boolean).join(": ");
    this.labelWithin(words, x + 8, x + room, y + half - 9, palette["--muted"]);
  }

  /** A label inside of a span, cut short or left out if there is no room. */
  labelWithin(words, left, right, y, color) {
    const from = Math.max(left, LEFT + 4);
    const room = Math.min(right, this.width) - from - 12;
    this.c.font = `500 10.5px ${FONT}`;
    if (room < 26) return;
    const fitting = this.fit(words, room);
    if (fitting.length > 4 || fitting === words) this.label(fitting, from + 4, y, color, 10.5, 500);
  }

  /** Machines that stand still, disks that are slow, links that are down for a moment. */
  drawSpans() {
    const { c, model } = this;
    const seen = (layer, spans) => LAYERS[layer].on ? spans.filter((span) => this.sees(span.at, span.end) && this.shows(span.event)) : [];
    const edges = (span) => [this.x(span.at), Math.max(this.x(span.end), this.x(span.at) + 2)];
    for (const pause of seen("machines", model.pauses)) {
      const [left, right] = edges(pause);
      const [y, half] = [this.laneY(pause.node), Math.min(this.gap * 0.26, 24)];
      c.globalAlpha = 0.16;
      c.fillStyle = palette["--pause"];
      c.fillRect(left, y - half, right - left, half * 2);
      c.globalAlpha = 1;
      c.fillRect(left, y - half, 2, half * 2);
      c.fillRect(right - 2, y - half, 2, half * 2);
      this.hits.push({ event: pause.event, box: [left - 2, y - half, right, y + half], ground: true });
      this.labelWithin(pause.event.clock_stops ? "stands still, its clock too" : "stands still", left, right, y + half + 8, palette["--pause"]);
    }
    for (const slow of seen("disks", model.slows)) {
      const [left, right] = edges(slow);
      const y = this.laneY(slow.node) + Math.min(this.gap * 0.36, 42);
      this.wave(left, right, y, palette["--disk"]);
      this.hits.push({ event: slow.event, box: [left - 1, y - 6, right + 1, y + 6], ground: true });
      this.labelWithin(`disk ${slow.event.times}× slower`, left + 2, right, y + 1, palette["--disk"]);
    }
    for (const flap of seen("flaps", model.flaps)) this.drawFlap(flap, ...edges(flap));
  }

  /** A broken line on the sender's side of the link, with a tick towards the receiver. */
  drawFlap(flap, left, right) {
    const { c } = this;
    const { from, to } = flap.event;
    const side = to > from ? 1 : -1;
    // Each receiver has a height of its own, so that several links of one node lie side by side.
    const y = this.laneY(from) + side * Math.min(this.gap * 0.47, 52 + 4 * Math.abs(to - from));
    c.strokeStyle = palette["--flap"];
    c.lineWidth = 1.8;
    c.setLineDash([3, 2.5]);
    c.beginPath();
    c.moveTo(left, y);
    c.lineTo(right, y);
    c.stroke();
    c.setLineDash([]);
    c.lineWidth = 1.4;
    c.beginPath();
    c.moveTo(left, y);
    c.lineTo(left, y + side * 7);
    c.stroke();
    this.hits.push({ event: flap.event, box: [left - 2, y - 3, right + 2, y + 4] });
    if (right - left > 60 && !this.crowded) this.labelWithin(`↛ n${to}`, left + 3, right, y, palette["--flap"]);
  }

  wave(left, right, y, color) {
    const { c } = this;
    c.strokeStyle = color;
    c.lineWidth = 1.6;
    c.beginPath();
    const [from, to] = [Math.max(left, LEFT - 8), Math.min(right, this.width + 8)];
    for (let x = from; x <= to; x += 2) {
      const at = [x, y + 2.2 * Math.sin((x - left) / 2.6)];
      if (x === from) c.moveTo(...at); else c.lineTo(...at);
    }
    c.stroke();
  }

  cross(x, y, size, color, thick) {
    const { c } = this;
    c.strokeStyle = color;
    c.lineWidth = thick;
    c.beginPath();
    c.moveTo(x - size, y - size);
    c.lineTo(x + size, y + size);
    c.moveTo(x - size, y + size);
    c.lineTo(x + size, y - size);
    c.stroke();
  }

  drawSyncs() {
    for (const sync of this.model.syncs) {
      if (!this.sees(sync.at, sync.end) || !this.shows(sync.event)) continue;
      const [x, y] = [this.x(sync.at), this.laneY(sync.node) + 20];
      const room = Math.max(this.x(sync.end) - x, 1.5);
      this.c.fillStyle = palette["--sync"];
      this.c.fillRect(x, y - 2, room, 4);
      this.hits.push({ event: sync.event, box: [x - 1, y - 4, x + room + 1, y + 4] });
    }
  }

  drawMessages() {
    const visible = this.model.messages.filter((message) => this.sees(message.at, message.end) && this.shows(message));
    this.drawn = visible.length;
    this.crowded = visible.length > 1500;
    const strength = Math.max(0.1, Math.min(0.92, 700 / Math.max(visible.length, 1)));
    const groups = new Map();
    for (const message of visible) {
      if (message.lost) continue;
      const group = this.matches(message) ? message.kind : "";
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push(message);
    }
    for (const [kind, messages] of groups) this.drawFlights(kind, messages, strength);
    for (const message of visible) if (message.lost) this.drawLoss(message, strength);
    this.c.globalAlpha = 1;
  }

  drawFlights(kind, messages, strength) {
    const { c } = this;
    const known = this.model.kindOf.get(kind);
    const heads = new Path2D();
    const lines = new Path2D();
    const again = new Path2D();
    const rings = new Path2D();
    for (const message of messages) {
      const ends = message.copies.length > 0 ? message.copies : [{ at: message.end, heard: true }];
      ends.forEach((copy, index) => {
        const line = this.flight(message, copy.at);
        (index > 0 ? again : lines).moveTo(line[0], line[1]);
        (index > 0 ? again : lines).lineTo(line[2], line[3]);
        if (!copy.heard) { rings.moveTo(line[2] + 3.5, line[3]); rings.arc(line[2], line[3], 3.5, 0, 7); }
        else if (!this.crowded && message.copies.length > 0) this.head(heads, line, known?.reply ? 5 : 7);
        this.hits.push({ event: message, line });
      });
    }
    c.strokeStyle = c.fillStyle = known ? palette[known.color] : palette["--muted"];
    c.globalAlpha = known ? strength * (known.reply ? 0.72 : 1) : 0.08;
    c.lineWidth = this.crowded ? 0.8 : known?.reply ? 1 : 1.35;
    c.stroke(lines);
    c.setLineDash([2, 3]);
    c.stroke(again);
    c.setLineDash([]);
    c.fill(heads);
    c.lineWidth = 1.5;
    c.stroke(rings);
    c.globalAlpha = 1;
  }

  /** The line of a message that comes at `end`, from lane to lane. */
  flight(message, end) {
    const down = message.to > message.from ? 1 : -1;
    return [
      this.x(message.at), this.laneY(message.from) + 4 * down, this.x(end), this.laneY(message.to) - 5 * down,
    ];
  }

  head(path, [x0, y0, x1, y1], size) {
    const angle = Math.atan2(y1 - y0, x1 - x0);
    path.moveTo(x1, y1);
    path.lineTo(x1 - size * Math.cos(angle - 0.36), y1 - size * Math.sin(angle - 0.36));
    path.lineTo(x1 - size * Math.cos(angle + 0.36), y1 - size * Math.sin(angle + 0.36));
    path.closePath();
  }

  drawLoss(message, strength) {
    const { c } = this;
    const [x0, y0, x1, y1] = this.flight(message, message.end);
    const part = LOST_AT[message.lost] ?? 0.56;
    const line = [x0, y0, x0 + (x1 - x0) * part, y0 + (y1 - y0) * part];
    const color = message.lost === "cut" ? palette["--cut"] : palette["--lost"];
    c.globalAlpha = this.matches(message) ? Math.max(strength, 0.35) : 0.08;
    c.strokeStyle = color;
    c.lineWidth = 1.1;
    c.setLineDash([5, 3]);
    c.beginPath();
    c.moveTo(line[0], line[1]);
    c.lineTo(line[2], line[3]);
    c.stroke();
    c.setLineDash([]);
    this.cross(line[2], line[3], this.crowded ? 2 : 3.6, color, this.crowded ? 1 : 1.7);
    this.hits.push({ event: message, line });
  }

  drawDecisions() {
    const { c } = this;
    const size = 4.2;
    const lanes = new Map();
    for (const decision of this.model.decisions) {
      if (!this.sees(decision.at, decision.at) || !this.shows(decision.event)) continue;
      const [x, y] = [this.x(decision.at), this.laneY(decision.node) + 11];
      if (!lanes.has(decision.node)) lanes.set(decision.node, []);
      lanes.get(decision.node).push([x, y, decision.slot]);
      c.globalAlpha = this.matches(decision.event) ? 1 : 0.15;
      c.fillStyle = palette["--decision"];
      c.beginPath();
      c.moveTo(x, y - size);
      c.lineTo(x + size, y);
      c.lineTo(x, y + size);
      c.lineTo(x - size, y);
      c.fill();
      this.hits.push({ event: decision.event, point: [x, y] });
    }
    c.globalAlpha = 1;
    for (const lane of lanes.values()) this.nameSlots(lane, size);
  }

  /** Names the slots where there is room; several that are close together go by their first and last. */
  nameSlots(lane, size) {
    let first = 0;
    lane.forEach(([x, y, slot], place) => {
      const next = lane[place + 1]?.[0] ?? Infinity;
      if (next - x < 2 * size + 4) return;
      const words = first === place ? `${slot}` : `${lane[first][2]}–${slot}`;
      const short = first === place ? words : `${slot}`;
      first = place + 1;
      this.c.font = `500 9.5px ${FONT}`;
      const fitting = [words, short].find((text) => x + size + this.c.measureText(text).width + 6 < next - size);
      if (fitting) this.label(fitting, x + size + 4, y + 1, palette["--decision"], 9.5, 500);
    });
  }

  drawMarks() {
    if (this.labels) for (const label of this.labels) this.label(...label);
    this.labels = null;
    const ends = [];
    for (const mark of this.model.marks) {
      if (!this.sees(mark.at, mark.at) || !this.shows(mark.event)) continue;
      const x = this.x(mark.at);
      // Two rows above the lane; where both are taken, a tick is left.
      const row = [0, 1].find((row) => x - (ends[mark.node * 2 + row] ?? -Infinity) > 17);
      const y = this.laneY(mark.node) - Math.min(this.gap * 0.26, 31) - 16 * (row ?? 0);
      this.hits.push({ event: mark.event, point: [x, y] });
      if (row === undefined) {
        this.c.fillStyle = palette[colorOf(mark.event)];
        this.c.fillRect(x - 0.5, y - 3, 1, 6);
        continue;
      }
      ends[mark.node * 2 + row] = x;
      this.badge(SYMBOLS[mark.event.type], x, y, palette[colorOf(mark.event)]);
    }
  }

  /** A glyph in a disc, so that it can be told from what lies behind. */
  badge(glyph, x, y, color) {
    const { c } = this;
    c.fillStyle = palette["--panel"];
    c.strokeStyle = color;
    c.lineWidth = 1.3;
    c.beginPath();
    c.arc(x, y, 7, 0, 7);
    c.fill();
    c.stroke();
    this.text(glyph, x, y + 0.5, color, 10.5, 700, "center");
  }

  drawClients() {
    const { c } = this;
    c.fillStyle = palette["--rule"];
    c.fillRect(LEFT - 6, this.clientsTop - 3, this.width, 1);
    for (const operation of this.model.operations) {
      if (!this.sees(operation.at, operation.end)) continue;
      const [x, y] = [this.x(operation.at), this.clientY(operation.client)];
      const room = Math.max(this.x(operation.end) - x, 1.5);
      const color = operation.state === "done" ? palette["--k0"] : palette["--unknown"];
      c.globalAlpha = this.matches(operation.event) ? 1 : 0.15;
      c.fillStyle = color;
      c.globalAlpha *= 0.22;
      c.fillRect(x, y - 6, room, 12);
      c.globalAlpha = this.matches(operation.event) ? 1 : 0.15;
      c.fillRect(x, y - 6, 1.5, 12);
      if (operation.state === "done") c.fillRect(x + room - 1.5, y - 6, 1.5, 12);
      this.hits.push({ event: operation.event, box: [x - 1, y - 7, x + room + 1, y + 7], operation });
      for (const ask of operation.asks.slice(1)) c.fillRect(this.x(ask.at), y + 2, 1, 4);
      const from = Math.max(x, LEFT);
      const words = `${operation.event.text}${operation.state === "done" ? ` → ${operation.answer}` : ""}`;
      c.font = `400 10px ${FONT}`;
      const seen = x + room - from - 8;
      if (seen > 40) this.text(this.fit(words, seen), from + 5, y + 0.5, palette["--ink"], 10);
    }
    c.globalAlpha = 1;
  }

  fit(words, room) {
    const wide = this.c.measureText(words).width;
    return wide <= room ? words : `${words.slice(0, Math.max(1, Math.floor((words.length * room) / wide) - 1))}…`;
  }

  drawLines() {
    const { c, model } = this;
    const lines = [...model.lines];
    if (model.failure) lines.push({ event: model.failure, at: model.failure.at, label: `✖ ${model.failure.property}`, failed: true });
    for (const { event, at, label, failed } of lines) {
      if (!this.sees(at, at)) continue;
      const x = this.x(at);
      const color = failed ? palette["--failure"] : palette["--muted"];
      c.strokeStyle = color;
      c.lineWidth = failed ? 2 : 1;
      c.setLineDash(failed ? [] : [3, 4]);
      c.beginPath();
      c.moveTo(x, TOP - 8);
      c.lineTo(x, this.height);
      c.stroke();
      c.setLineDash([]);
      c.font = `600 11px ${FONT}`;
      const room = c.measureText(label).width;
      const left = x + room + 12 > this.width ? x - room - 8 : x + 5;
      this.label(label, left, failed ? this.clientsTop - 12 : this.clientsTop - 28, color, 11);
      this.hits.push({ event, box: [x - 4, TOP, x + 4, this.height], plain: true });
    }
  }

  drawHighlights() {
    for (const [event, color, thick] of [[this.hover, "--ink", 2], [this.selected, "--focus", 2.6]]) {
      if (!event) continue;
      if (event.type === "decision") this.joinSlot(event.slot);
      this.outline(event, palette[color], thick);
    }
  }

  outline(event, color, thick) {
    const { c } = this;
    c.strokeStyle = color;
    c.fillStyle = color;
    c.lineWidth = thick;
    const own = this.hits.filter((hit) => hit.event === event || (event.operation && hit.event === event.operation));
    for (const { line, box, point, plain } of own) {
      c.beginPath();
      if (line) {
        const heads = new Path2D();
        c.moveTo(line[0], line[1]);
        c.lineTo(line[2], line[3]);
        if (!event.lost) this.head(heads, line, 10);
        c.fill(heads);
      }
      if (box && !plain) c.rect(box[0], box[1], box[2] - box[0], box[3] - box[1]);
      if (point) c.arc(point[0], point[1], 8, 0, 7);
      c.stroke();
    }
    if (event === this.selected && this.sees(event.at, event.at)) {
      c.lineWidth = 1;
      c.globalAlpha = 0.35;
      c.beginPath();
      c.moveTo(this.x(event.at), TOP - 6);
      c.lineTo(this.x(event.at), this.height);
      c.stroke();
      c.globalAlpha = 1;
    }
  }

  /** Where else the same slot was decided. */
  joinSlot(slot) {
    const { c } = this;
    const first = new Map();
    for (const decision of this.model.slots.get(slot) ?? []) {
      if (!first.has(decision.node)) first.set(decision.node, decision);
    }
    c.strokeStyle = palette["--decision"];
    c.lineWidth = 1.4;
    c.setLineDash([4, 3]);
    c.beginPath();
    [...first.keys()].sort((a, b) => a - b).forEach((node, place) => {
      const point = [this.x(first.get(node).at), this.laneY(node) + 11];
      if (place === 0) c.moveTo(...point); else c.lineTo(...point);
    });
    c.stroke();
    c.setLineDash([]);
  }

  drawNames() {
    for (let node = 1; node <= this.model.run.nodes; node += 1) {
      const y = this.laneY(node);
      const color = this.focus === null || this.focus === node ? palette["--ink"] : palette["--muted"];
      this.text(`n${node}`, LEFT - 18, y - 1, color, 15, 650, "right");
      const now = this.model.roles.findLast((role) => role.node === node && role.at <= this.view.end && role.end >= this.view.begin);
      if (now && this.gap > 44) this.text(now.role.toLowerCase(), LEFT - 18, y + 15, palette["--muted"], 10, 400, "right");
    }
    if (!LAYERS.clients.on) return;
    for (let client = 0; client < this.model.run.clients; client += 1) {
      this.text(`client ${client}`, LEFT - 18, this.clientY(client), palette["--muted"], 10.5, 400, "right");
    }
  }

  /** What is drawn nearest to a point; what lies on the ground only if nothing else is near. */
  at(x, y) {
    let best = null;
    let nearest = 7;
    for (const hit of this.hits) {
      let distance = Infinity;
      if (hit.point) distance = Math.hypot(x - hit.point[0], y - hit.point[1]) - 3;
      if (hit.line) distance = toLine(x, y, hit.line);
      if (hit.box && x >= hit.box[0] && x <= hit.box[2] && y >= hit.box[1] && y <= hit.box[3]) distance = hit.ground ? 6.5 : 3;
      if (distance < nearest) [best, nearest] = [hit, distance];
    }
    return best;
  }
}

function toLine(x, y, [x0, y0, x1, y1]) {
  const [dx, dy] = [x1 - x0, y1 - y0];
  const part = Math.max(0, Math.min(1, ((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy || 1)));
  return Math.hypot(x - x0 - part * dx, y - y0 - part * dy);
}

/** The whole run on one strip: how busy it was, who led, what went wrong, and where we are. */
function drawOverview(canvas, model, view, selected) {
  const { context: c, width, height } = prepare(canvas);
  const x = (time) => LEFT + (time / model.end) * (width - LEFT - 12);
  const lanes = height - 14;
  for (const cut of model.cuts) {
    c.globalAlpha = 0.28;
    c.fillStyle = palette["--cut"];
    c.fillRect(x(cut.at), 4, Math.max(x(cut.end) - x(cut.at), 1), lanes);
  }
  const bins = new Uint32Array(Math.max(1, Math.ceil(width / 3)));
  for (const message of model.messages) bins[Math.min(bins.length - 1, Math.floor(x(message.at) / 3))] += 1;
  const most = bins.reduce((a, b) => Math.max(a, b), 1);
  c.globalAlpha = 0.3;
  c.fillStyle = palette["--k0"];
  bins.forEach((count, place) => c.fillRect(place * 3, 4 + lanes - (count / most) * lanes, 2, (count / most) * lanes));
  c.globalAlpha = 1;
  const step = lanes / model.run.nodes;
  for (const role of model.roles) {
    if (role.role !== "Leader") continue;
    c.fillStyle = palette["--leader"];
    c.fillRect(x(role.at), 4 + step * (role.node - 0.5) - 1.5, Math.max(x(role.end) - x(role.at), 1), 3);
  }
  for (const down of model.downs) {
    c.fillStyle = palette["--muted"];
    c.fillRect(x(down.at), 4 + step * (down.node - 0.5) - 1, Math.max(x(down.end) - x(down.at), 1), 2);
  }
  if (model.failure) {
    c.fillStyle = palette["--failure"];
    c.fillRect(x(model.failure.at) - 1, 0, 2.5, height);
  }
  if (selected) {
    c.fillStyle = palette["--ink"];
    c.fillRect(x(selected.at), 0, 1, height);
  }
  c.strokeStyle = palette["--ink"];
  c.lineWidth = 1.5;
  const left = Math.max(x(view.begin), LEFT - 4);
  c.strokeRect(left, 2, Math.max(Math.min(x(view.end), width - 4) - left, 3), lanes + 4);
  c.font = `11px ${FONT}`;
  c.fillStyle = palette["--muted"];
  c.textAlign = "right";
  c.textBaseline = "middle";
  c.fillText("whole run", LEFT - 18, height / 2);
  return (position) => ((position - LEFT) / (width - LEFT - 12)) * model.end;
}
