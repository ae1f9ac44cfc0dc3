/* The page: one stream at a time, from the microphone or a file, to captions. The protocol is lamina.deploy.serve.protocol's. */
import {bytes, picture, rows, time} from "./memory.js";
import {blocked, decibels, decoded, microphone, paced, pcm} from "./sound.js";

const KEPT = 500;  // captions that p95 is over
const ANNOUNCED = 1500;  // ms between two announcements to screen readers
const $ = (id) => document.getElementById(id);
const about = await (await fetch("/about")).json();
let stream = null;

/* One stream: its socket and its place on the page. */
class Stream {
  constructor(rate, live) {
    this.live = live;
    this.computed = [];
    this.emitted = [];
    this.ending = this.told = this.taken = false;
    this.gap = document.createTextNode("");
    this.provisional = document.createElement("span");
    this.provisional.className = "provisional";
    $("hint")?.remove();
    this.begin();
    const token = $("token").value || new URLSearchParams(location.hash.slice(1)).get("token");
    this.socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/listen`);
    this.socket.onopen = () => {
      this.taken = true;
      this.say({type: "hello", rate, format: "s16le", ...(token ? {token} : {})});
    };
    this.socket.onmessage = ({data}) => this[JSON.parse(data).type]?.(JSON.parse(data));
    this.socket.onclose = () => this.closed();
    this.opened = new Promise((then) => { this.isReady = then; });
  }

  /* A line for an utterance. */
  begin() {
    this.stable = document.createTextNode("");
    this.line = document.createElement("p");
    this.line.append(this.stable, this.gap, this.provisional);
    $("captions").append(this.line);
    this.over = false;
  }

  write(text) {
    if (this.over && text.trim()) this.begin();
    this.stable.appendData(this.stable.data ? text : text.trimStart());
  }

  say(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  send(samples) {
    if (this.socket.readyState === WebSocket.OPEN && !this.ending) this.socket.send(pcm(samples));
  }

  finish() {
    if (!this.ending) this.say({type: "end"});
    this.ending = true;
  }

  ready(message) {
    const all = message.algorithmic_ms + message.resampling_ms;
    $("algorithmic").textContent = `${Math.round(all)} ms`;
    $("algorithmic-more").textContent = message.resampling_ms ? `${Math.round(message.resampling_ms)} of it resampling` : "";
    this.isReady(true);
  }

  caption(message) {
    const box = $("captions"), low = box.scrollHeight - box.scrollTop - box.clientHeight < 48;
    const points = [...message.stable];  // message.at and message.ends count code points
    let from = 0;
    for (const end of message.ends) {
      this.write(points.slice(from, from = end - message.at).join(""));
      this.over = true;
    }
    if (from < points.length) this.write(points.slice(from).join(""));
    const [, gap, provisional] = /^(\s*)(.*)$/s.exec(message.provisional);
    if (this.over && provisional) this.begin();
    if (gap !== this.gap.data) this.gap.data = gap;
    if (provisional !== this.provisional.textContent) this.provisional.textContent = provisional;
    if (low) box.scrollTop = box.scrollHeight;
    announce(message.words.map((word) => word.text));
    this.emitted.push(...message.words.map((word) => word.emission_ms));
    if (this.live && !message.ended) this.computed.push(message.compute_ms);
    this.computed.splice(0, this.computed.length - KEPT);
    this.emitted.splice(0, this.emitted.length - KEPT);
    this.seconds = message.seconds;
    this.heard?.(message.seconds);
    show(this);
  }

  error(message) {
    this.told = true;
    problem(message.message[0].toUpperCase() + message.message.slice(1) + ".");
    if (message.kind === "token") $("ask").hidden = false;
  }

  end() {
    this.told = true;
    drawn = 0;
    if (this.seconds) show(this);
  }

  closed() {
    if (!this.told) {
      problem(this.taken ? "The server is gone: see that lamina serve runs, then start again."
        : "The server takes no connection from here: see that lamina serve runs, has places and admits this page, then start again.");
    }
    this.isReady(false);
    this.close?.();
    if (!this.line.textContent) this.line.remove();
    if (stream === this) stopped(this);
  }
}

async function listen() {
  if (stream) return finish();
  begun("Asking for the microphone");
  let source, early = [];  // what is said before the server is ready
  const hear = (chunk) => {
    level(decibels(chunk));
    if (early) early.push(chunk); else stream?.send(chunk);
  };
  try {
    source = await microphone(about.rate, hear);
  } catch (error) {
    problem(blocked(error));
    return stopped();
  }
  stream = new Stream(source.rate, true);
  stream.close = source.close;
  if (!await stream.opened) return undefined;
  early.forEach((chunk) => stream.send(chunk));
  early = null;
  $("listen").textContent = "Stop";
  $("listen").disabled = false;
  return say("Listening");
}

async function open(file) {
  begun(`Reading ${file.name}`);
  let samples;
  try {
    samples = await decoded(file, about.rate);
  } catch {
    problem(`${file.name} is no sound that this browser reads: convert it to WAV or MP3.`);
    return stopped();
  }
  const mine = stream = new Stream(about.rate, false);
  mine.length = samples.length / about.rate;
  if (!await mine.opened) return undefined;
  $("listen").textContent = "Stop";
  $("listen").disabled = false;
  mine.heard = paced(samples, about.rate, about.frame_bytes, (part) => { level(decibels(part)); mine.send(part); }, () => mine.finish());
  if (!samples.length) mine.finish();
  return mine.heard(0);
}

function finish() {
  stream.close?.();
  stream.finish();
  $("listen").disabled = true;
  level(-60);
  say("Ending");
}

function begun(what) {
  problem("");
  say(what);
  $("listen").disabled = $("file").disabled = true;
}

function stopped(ended) {
  stream = null;
  level(-60);
  $("listen").textContent = "Start listening";
  $("listen").disabled = $("file").disabled = false;
  say(ended?.seconds ? `Heard ${time(ended.seconds)}` : "");
}

function problem(text) { $("problem").textContent = text; }

function say(text) { if ($("state").textContent !== text) $("state").textContent = text; }

function level(decibel) {
  $("bar").style.transform = `scaleX(${1 + decibel / 60})`;
  $("level").setAttribute("aria-valuenow", Math.round(decibel));
}

/* The value below which a share of the values lies. */
function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
}

const ms = (value) => `${value < 100 ? Number(value.toPrecision(2)) : Math.round(value)} ms`;
let drawn = 0;

/* The chips and the picture, four times a second at most. */
function show(one) {
  if (performance.now() - drawn < 250) return;
  drawn = performance.now();
  if (one.computed.length) {
    $("compute").textContent = ms(quantile(one.computed, 0.95));
    $("compute-more").textContent = `p50 ${ms(quantile(one.computed, 0.5))}, p99 ${ms(quantile(one.computed, 0.99))}`;
  } else {
    $("compute").textContent = "not live";
    $("compute-more").textContent = `a file, ${time(one.seconds)} of ${time(one.length)}`;
  }
  if (one.emitted.length) {
    $("emission").textContent = ms(quantile(one.emitted, 0.5));
    $("emission-more").textContent = `median of ${one.emitted.length} words`;
  }
  remember(one.seconds);
  move(one.seconds);
}

function remember(seconds) {
  const mine = `This stream keeps ${bytes(about.state_bytes)}, however long it runs.`;
  const cache = about.cache_bytes;
  const other = cache && seconds >= 1 ? ` By now, after ${time(seconds)}, a full cache would be ${bytes(cache * seconds)}` : cache ? " A full cache grows with it" : "";
  $("memory-text").textContent = mine + (cache ? `${other}: computed, ${about.cache}.` : "");
}

/* Settled words for screen readers, some at a time. */
let said = [], saying = null;
function announce(words) {
  said.push(...words);
  if (!said.length || saying) return;
  saying = setTimeout(() => {
    $("announced").textContent = said.join(" ");
    said = [];
    saying = null;
  }, ANNOUNCED);
}

$("about").textContent = `by ${about.model}, ${about.weights.toLocaleString("en")} weights`;
$("memory").dataset.family = about.family;
$("algorithmic").textContent = `${Math.round(about.algorithmic_ms)} ms`;
for (const id of ["compute", "emission"]) $(id).textContent = "not yet";
$("ask").hidden = !about.token || location.hash.includes("token=");
rows($("memory-table"), about);
remember(0);
const move = picture($("memory"), about);
$("listen").onclick = listen;
$("file").onchange = ({target}) => {
  if (target.files[0]) open(target.files[0]);
  target.value = "";
};
$("ask").onsubmit = (event) => {
  event.preventDefault();
  if (!stream && !$("listen").disabled) listen();
};
$("listen").disabled = $("file").disabled = false;
