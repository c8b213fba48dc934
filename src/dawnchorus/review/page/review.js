// The page of a review: clips are loaded ahead, answered by key, and every answer is written before the next is shown.

import { drawCurve, inWords } from "/page/results.js";
import { Spectrogram, clock, painted } from "/page/spectrogram.js";

const AHEAD = 4;
const ORDERS = {
  strata: "stratified, for thresholds", surest: "surest", doubtful: "most doubtful", random: "random",
  time: "in time", similar: "like a clip", table: "as in the table", second: "second opinions", conflicts: "conflicts",
};
const $ = (id) => document.getElementById(id);
const spectrogram = new Spectrogram($("spectrogram"), $("playhead"));

const stored = (key, otherwise) => localStorage.getItem(`dawnchorus.${key}`) ?? otherwise;
const store = (key, value) => localStorage.setItem(`dawnchorus.${key}`, value);
const session = sessionStorage.getItem("session") ?? [...crypto.getRandomValues(new Uint8Array(12))].map((n) => n.toString(16).padStart(2, "0")).join("");
sessionStorage.setItem("session", session);

let info, clip = null, like = null, generation = 0;
let buffer = [], filling = null;
let isShown = false; // a clip that is not drawn yet takes no answer
let heard = new Set();
const skipped = new Set(); // clips without sound, passed over in this page
let context = null, source = null, startedAt = 0, lasting = 0;

// ---- requests

async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  const answer = await fetch(path, options);
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({}));
    throw new Error(said.error ?? `${answer.status} ${answer.statusText}`);
  }
  return answer;
}

const queue = () => ({
  order: $("order").value, species: $("species").value || null, site: $("site").value || null,
  like: $("order").value === "similar" ? like : null,
});
const reviewer = () => $("reviewer").value.trim();
const request = (more = {}) => ({ session, reviewer: reviewer(), queue: queue(), skipped: [...skipped], ...more });

async function loaded(found) {
  const picture = await ask(`/api/clips/${found.id}/spectrogram`);
  const header = (name) => Number(picture.headers.get(name));
  const excerpt = {
    levels: new Uint8Array(await picture.arrayBuffer()), bins: header("X-Bins"), frames: header("X-Frames"),
    highHz: header("X-High-Hz"), start: header("X-Start-S"), end: header("X-End-S"),
  };
  const sound = ask(`/api/clips/${found.id}/sound`).then((answer) => answer.arrayBuffer());
  sound.catch(() => null); // told when it is played
  return { excerpt, picture: painted(excerpt, spectrogram.contrast), sound };
}

function prepared(found) {
  const clip = { ...found, content: null, error: null };
  clip.ready = loaded(found).then((content) => { clip.content = content; }, (error) => { clip.error = error.message; });
  return clip;
}

function fill() {
  filling ??= (async () => {
    const ours = generation;
    try {
      const holding = [...buffer.map((each) => each.id), ...(clip ? [clip.id] : [])];
      const said = await (await ask("/api/next", request({ holding, n: Math.max(1, AHEAD - buffer.length) }))).json();
      if (ours !== generation) return 0;
      buffer.push(...said.clips.map(prepared));
      return said.clips.length;
    } finally {
      filling = null;
    }
  })();
  return filling;
}

// ---- a clip

function say(text, isWrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", isWrong);
}

function named(label) {
  const [scientific, common] = info.names[label] ?? [label, label];
  return { name: common, scientific: scientific === common ? "" : scientific };
}

function both(label) {
  const { name, scientific } = named(label);
  return scientific ? `${name} (${scientific})` : name;
}

async function next() {
  if (!buffer.length) await fill();
  clip = buffer.shift() ?? null;
  if (buffer.length < AHEAD - 1) fill().catch((error) => say(error.message, true));
  await show();
}

async function show() {
  stop();
  heard = new Set();
  isShown = false;
  $("unnamed").hidden = true;
  $("unreadable").hidden = true;
  for (const id of ["yes", "no", "unsure", "play", "box"]) $(id).disabled = !clip;
  $("skip").hidden = true;
  if (!clip) {
    $("question").textContent = skipped.size ? `Nothing is left here but what was skipped (${skipped.size}).` : "Nothing is left here.";
    $("where").textContent = "Choose another order or species, or write the results.";
    $("said").hidden = true;
    $("others").replaceChildren();
    spectrogram.clear();
    $("clip").dataset.clip = "";
    return;
  }
  const { name, scientific } = named(clip.label);
  const species = document.createElement("em");
  species.textContent = scientific;
  const whose = scientific ? [" (", species, ")"] : [];
  $("question").replaceChildren(...(clip.label ? [`Is this ${name}`, ...whose, "?"] : ["What is this?"]));
  $("yes").disabled = !clip.label;
  where();
  const earlier = clip.answers.map((each) => `${each.reviewer} says ${each.verdict}${each.heard.length ? `, and hears ${each.heard.map(both).join(", ")}` : ""}`);
  $("said").hidden = !earlier.length;
  $("said").textContent = earlier.join("; ");
  chips();
  const shown = clip;
  if (!shown.content && !shown.error) {
    spectrogram.clear();
    await shown.ready;
  }
  if (shown !== clip) return;
  if (shown.error) {
    spectrogram.clear();
    $("unreadable").textContent = shown.error;
    $("unreadable").hidden = false;
    for (const id of ["yes", "no", "unsure", "play", "box"]) $(id).disabled = true;
    $("skip").hidden = false;
    say("What cannot be heard takes no answer; skip it.", true);
  } else {
    const { excerpt, picture } = shown.content;
    spectrogram.show(excerpt, picture, shown);
    tops(excerpt.highHz);
    if ($("autoplay").checked) play();
    if (info.has_frames) frames(shown);
  }
  $("spectrogram").setAttribute("aria-label",
    `Spectrogram of ${shown.filename} from ${clock(shown.start_s)} to ${clock(shown.end_s)}`);
  isShown = !shown.error;
  $("clip").dataset.clip = shown.id;
}

function where() {
  if (!clip) return;
  const score = $("show-score").checked && clip.probability !== null ? ` · score ${clip.probability.toFixed(3)}` : "";
  const channel = clip.channel ? ` · channel ${clip.channel}` : "";
  $("where").textContent = `${clip.filename} · ${clock(clip.start_s)} to ${clock(clip.end_s)}${channel}${score}`;
}

async function frames(shown) {
  try {
    const found = await (await ask(`/api/clips/${shown.id}/frames`)).json();
    if (shown !== clip) return;
    spectrogram.frames = found.levels;
    spectrogram.draw();
  } catch { /* the picture does without */ }
}

function chip(label, key, text) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(`${text} `);
  if (key) {
    const shown = document.createElement("kbd");
    shown.textContent = key;
    button.append(shown);
    button.setAttribute("aria-keyshortcuts", key);
  }
  button.setAttribute("aria-pressed", String(heard.has(label)));
  button.addEventListener("click", () => toggle(label));
  return button;
}

function chips() {
  const known = clip.suggestions;
  const own = [...heard].filter((label) => !known.includes(label) && label !== info.nocall);
  $("others").replaceChildren(
    ...known.map((label, place) => chip(label, String(place + 1), both(label))),
    ...own.map((label) => chip(label, "", both(label))),
    chip(info.nocall, "0", "no species at all"),
  );
}

function toggle(label) {
  if (!clip || !label) return;
  if (heard.has(label)) heard.delete(label);
  else {
    if (label === info.nocall) heard.clear();
    else heard.delete(info.nocall);
    heard.add(label);
  }
  chips();
  say(heard.size ? `Heard: ${[...heard].map((each) => (each === info.nocall ? "no species at all" : both(each))).join(", ")}` : "");
}

// What is typed is the species that the server knows by that name; another is added only by its button.
let naming = Promise.resolve();

function name(text, isNew = false) {
  naming = naming.then(() => resolve(text, isNew)).catch((error) => say(error.message, true));
}

async function resolve(text, isNew) {
  const asked = clip;
  const said = await (await ask("/api/species", { name: text, is_new: isNew })).json();
  if (asked !== clip || !clip) return;
  $("unnamed").hidden = said.label !== null;
  if (said.label !== null) {
    if (isNew) await listNames();
    if (!heard.has(said.label)) toggle(said.label);
    return;
  }
  $("no-such-species").textContent = said.said;
  $("nearest").replaceChildren(
    ...said.near.map((label) => choice(both(label), () => name(label))),
    choice(`Add ${text} as a species that the model does not know`, () => name(text, true)),
    choice("Leave it out", () => { $("unnamed").hidden = true; }),
  );
}

function choice(text, act) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.addEventListener("click", act);
  return button;
}

async function listNames() {
  info = await (await ask("/api/state")).json();
  const listed = Object.entries(info.names).flatMap(([label, [scientific, common]]) => {
    const names = scientific === common ? [option(common, label)] : [option(common, scientific), option(scientific, common)];
    return names;
  });
  $("labels").replaceChildren(...listed);
}

async function answer(verdict) {
  if (!isShown) return;
  if (!reviewer()) return welcome();
  const meant = clip;
  await naming;
  if (!isShown || meant !== clip) return;
  if (!$("unnamed").hidden) return say("Choose, add or leave out the species that is not known, then answer.", true);
  if (verdict === "yes" && (!clip.label || heard.has(info.nocall))) return say("Yes and no species at all do not go together.", true);
  if (spectrogram.drawing) keepBox();
  isShown = false;
  const begun = performance.now(), given = clip;
  const others = [...heard].filter((label) => label !== given.label);
  const first = verdict === "yes" ? given.label : others.find((label) => label !== info.nocall);
  const boxes = first ? spectrogram.boxes.map((box) => ({ ...box, label: first })) : [];
  try {
    await ask("/api/answers", { clip: given.id, session, reviewer: reviewer(), verdict, heard: others, boxes, queue: queue() });
  } catch (error) {
    isShown = true;
    return say(`This answer is not written: ${error.message}`, true);
  }
  try {
    await next();
    say(clip ? `Written: ${verdict}. ${$("question").textContent}` : `Written: ${verdict}. Nothing is left here.`);
  } catch (error) {
    say(error.message, true);
  }
  requestAnimationFrame(() => setTimeout(() => performance.measure("key to clip", { start: begun, end: performance.now() })));
  progress(clip?.label ?? given.label);
}

async function skip() {
  if (!clip?.error) return;
  skipped.add(clip.id);
  try {
    await next();
  } catch (error) {
    say(error.message, true);
  }
  progress(clip?.label);
}

async function undo() {
  try {
    const said = await (await ask("/api/undo", request())).json();
    if (!said.clip) return say("There is no answer of yours here to take back.");
    if (clip) buffer.unshift(clip);
    clip = prepared(said.clip);
    await show();
    say(`Taken back. ${$("question").textContent}`);
    progress(clip.label);
  } catch (error) {
    say(error.message, true);
  }
}

// ---- sound

async function play() {
  if (!clip?.content) return;
  context ??= new AudioContext();
  if (context.state === "suspended") await context.resume();
  const asked = clip, { sound, excerpt } = clip.content;
  asked.decoded ??= await context.decodeAudioData((await sound).slice(0));
  if (asked !== clip) return;
  stop();
  source = context.createBufferSource();
  const gain = context.createGain();
  gain.gain.value = 10 ** ($("gain").value / 20);
  source.buffer = clip.decoded;
  source.playbackRate.value = Number($("speed").value);
  source.connect(gain).connect(context.destination);
  const from = Math.max(0, spectrogram.view.from - excerpt.start), until = spectrogram.view.to - excerpt.start;
  lasting = until - from;
  source.start(0, from, lasting);
  startedAt = context.currentTime;
  const playing = source, rate = source.playbackRate.value;
  source.addEventListener("ended", () => { if (playing === source) stop(); });
  $("play").firstChild.textContent = "Stop ";
  const follow = () => {
    if (playing !== source) return;
    spectrogram.movePlayhead(excerpt.start + from + (context.currentTime - startedAt) * rate);
    requestAnimationFrame(follow);
  };
  follow();
}

function stop() {
  source?.stop();
  source = null;
  spectrogram.movePlayhead(null);
  $("play").firstChild.textContent = "Play ";
}

const toggleSound = () => (source ? stop() : play().catch((error) => say(`No sound: ${error.message}`, true)));

function faster(by) {
  const select = $("speed");
  select.selectedIndex = Math.min(select.options.length - 1, Math.max(0, select.selectedIndex + by));
  if (source) play();
}

// ---- boxes

function box() {
  if (!clip?.content) return;
  if (spectrogram.drawing) return keepBox();
  spectrogram.beginBox();
  $("box").setAttribute("aria-pressed", "true");
  $("spectrogram").focus();
  say("Drag a box, or move it with the arrows, size it with shift and arrows, and keep it with enter.");
}

function keepBox(isKept = true) {
  const kept = spectrogram.endBox(isKept);
  boxed(kept);
}

function boxed(kept) {
  $("box").setAttribute("aria-pressed", "false");
  say(kept ? `Box from ${clock(kept.start_s, 0.1)} to ${clock(kept.end_s, 0.1)}, ${(kept.low_hz / 1000).toFixed(1)} to ${(kept.high_hz / 1000).toFixed(1)} kHz.` : "");
}

// ---- what the answers say

const wanted = () => ($("wanted").value === "" ? 0.9 : Number($("wanted").value));

let asked = 0;
async function progress(label) {
  const ours = (asked += 1);
  try {
    const said = await (await ask("/api/progress", request())).json();
    if (ours !== asked) return;
    $("done").max = Math.max(1, said.n_clips);
    $("done").value = said.n_clips - said.n_left;
    $("sentence").textContent = said.sentence;
    const species = $("species").value || label;
    if (!species) return;
    const path = `/api/results?species=${encodeURIComponent(species)}&precision=${wanted()}`;
    const found = await (await ask(path)).json();
    if (ours !== asked) return;
    $("precision").hidden = false;
    $("precision").dataset.species = species;
    $("curve-heading").textContent = `Precision: ${both(species)}`;
    drawCurve($("curve"), found, wanted());
    const conflicts = found.n_conflicts ? ` ${found.n_conflicts} in conflict.` : "";
    $("curve-words").textContent = inWords(found, wanted()) + conflicts;
  } catch (error) {
    if (ours === asked) {
      $("curve").replaceChildren();
      $("curve-words").textContent = error.message;
    }
    say(error.message, true);
  }
}

async function write() {
  $("written").textContent = "Writing …";
  try {
    const said = await (await ask("/api/write", { precision: wanted() })).json();
    $("written").textContent = said.sentence;
  } catch (error) {
    $("written").textContent = error.message;
  }
}

async function retrain() {
  $("retrain").disabled = true;
  $("log").hidden = false;
  try {
    let state = await (await ask("/api/retrain", {})).json();
    while (state.is_running) {
      $("log").textContent = state.log;
      $("log").scrollTop = $("log").scrollHeight;
      await new Promise((done) => setTimeout(done, 1000));
      state = await (await ask("/api/retrain")).json();
    }
    $("log").textContent = state.log;
    $("written").textContent = state.exit_code === 0 ? "The next round is trained." : `The training has ended with exit code ${state.exit_code}.`;
  } catch (error) {
    $("written").textContent = error.message;
  } finally {
    $("retrain").disabled = false;
  }
}

// ---- choices

function option(value, text) {
  const made = document.createElement("option");
  made.value = value;
  made.textContent = text;
  return made;
}

let topOf = null;
function tops(highHz) {
  if (topOf === highHz) return;
  topOf = highHz;
  const kHz = [2, 4, 8, 12, 16, 24, 48, 96].filter((at) => at * 1000 < highHz);
  $("top").replaceChildren(...kHz.map((at) => option(String(at * 1000), `${at} kHz`)), option("", `${+(highHz / 1000).toFixed(1)} kHz`));
  $("top").value = spectrogram.topHz && spectrogram.topHz < highHz ? String(spectrogram.topHz) : "";
}

async function restart() {
  generation += 1;
  buffer = [];
  clip = null;
  isShown = false;
  $("clip").removeAttribute("data-clip");
  store("order", $("order").value);
  try {
    if (filling) await filling.catch(() => 0);
    await next();
    if (clip) say($("question").textContent);
  } catch (error) {
    clip = null;
    await show();
    say(error.message, true);
  }
  progress(clip?.label);
}

function welcome() {
  $("name").value = reviewer();
  $("welcome").showModal();
}

$("welcome").addEventListener("close", () => {
  const name = $("name").value.trim();
  if (!name) return welcome();
  $("reviewer").value = name;
  store("reviewer", name);
  restart();
});
$("reviewer").addEventListener("change", () => { store("reviewer", reviewer()); if (reviewer()) restart(); else welcome(); });
for (const id of ["order", "species", "site"]) $(id).addEventListener("change", restart);
$("queue").addEventListener("submit", (event) => event.preventDefault());
for (const verdict of ["yes", "no", "unsure"]) $(verdict).addEventListener("click", () => answer(verdict));
$("play").addEventListener("click", toggleSound);
$("box").addEventListener("click", box);
$("undo").addEventListener("click", undo);
$("skip").addEventListener("click", skip);
$("like").addEventListener("click", alike);
$("write").addEventListener("click", write);
$("retrain").addEventListener("click", retrain);
$("closer").addEventListener("click", () => spectrogram.zoom(0.5));
$("wider").addEventListener("click", () => spectrogram.zoom(2));
$("show-score").addEventListener("change", () => { store("score", $("show-score").checked); where(); });
$("autoplay").addEventListener("change", () => store("autoplay", $("autoplay").checked));
$("contrast").addEventListener("input", () => { spectrogram.contrast = Number($("contrast").value); spectrogram.repaint(); });
$("top").addEventListener("change", () => { spectrogram.topHz = Number($("top").value) || null; spectrogram.draw(); });
$("speed").addEventListener("change", () => { if (source) play(); });
$("wanted").addEventListener("change", () => progress($("precision").dataset.species));
$("spectrogram").addEventListener("boxed", (event) => boxed(event.detail));
$("another").addEventListener("change", () => {
  const text = $("another").value.trim();
  $("another").value = "";
  if (text) name(text);
});
$("another").addEventListener("keydown", (event) => {
  if (event.key === "Enter") { $("another").dispatchEvent(new Event("change")); $("another").blur(); }
  if (event.key === "Escape") { $("another").value = ""; $("another").blur(); }
});

function alike() {
  if (!clip || $("like").hidden) return;
  like = clip.id;
  $("order").value = "similar";
  restart();
}

const KEYS = {
  " ": toggleSound, y: () => answer("yes"), n: () => answer("no"), u: () => answer("unsure"), s: skip, b: box, z: undo, l: alike,
  "/": () => $("another").focus(), "+": () => spectrogram.zoom(0.5), "=": () => spectrogram.zoom(0.5),
  "-": () => spectrogram.zoom(2), ArrowLeft: () => spectrogram.pan(-0.25), ArrowRight: () => spectrogram.pan(0.25),
  ",": () => faster(-1), ".": () => faster(1),
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("welcome").open) return;
  if (event.target.matches("input:not([type=range]):not([type=checkbox]), select")) return;
  const onButton = event.target.matches("button, summary, input");
  if (onButton && [" ", "Enter"].includes(event.key)) return;
  if (event.target.matches("input[type=range]") && event.key.startsWith("Arrow")) return;
  if (spectrogram.drawing) {
    if (ARROWS[event.key]) { event.preventDefault(); return spectrogram.changeBox(...ARROWS[event.key], event.shiftKey); }
    if (event.key === "Enter" || event.key === "Escape") { event.preventDefault(); return keepBox(event.key === "Enter"); }
  }
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (/^[0-9]$/.test(key)) {
    toggle(key === "0" ? info.nocall : clip?.suggestions[Number(key) - 1]);
  } else if (KEYS[key]) {
    event.preventDefault();
    if (!event.repeat || key === "ArrowLeft" || key === "ArrowRight") KEYS[key]();
  }
});

async function begin() {
  await listNames();
  $("order").replaceChildren(...info.orders.map((order) => option(order, ORDERS[order] ?? order)));
  const order = stored("order", "strata");
  $("order").value = info.orders.includes("table") ? "table" : info.orders.includes(order) && order !== "similar" ? order : "strata";
  $("species").replaceChildren(option("", "all"), ...info.species.map((each) => option(each.label, `${both(each.label) || "not named"} (${each.n.toLocaleString("en")})`)));
  $("site").replaceChildren(option("", "all"), ...info.sites.map((site) => option(site, site)));
  $("of-site").hidden = !info.sites.length;
  $("retrain").hidden = !info.can_retrain;
  $("like").hidden = !info.orders.includes("similar");
  $("autoplay").checked = stored("autoplay", "false") === "true";
  $("show-score").checked = stored("score", "false") === "true";
  $("reviewer").value = stored("reviewer", "");
  if (reviewer()) await restart();
  else welcome();
}

begin().catch((error) => say(error.message, true));
