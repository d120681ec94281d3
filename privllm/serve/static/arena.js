// The arena: one message to two models, two replies without names, one vote; then the names.

import { busy, byId, call, composer, lines, make, reveal, settings } from "./common.js";

const SIDES = ["left", "right"];
const KEYS = { 1: "left", 2: "right", 3: "tie", 4: "both_bad", ArrowLeft: "left", ArrowRight: "right", ArrowUp: "tie", ArrowDown: "both_bad" };
let options, stopping = null, match = null;

async function start() {
  const page = await (await call("api/page")).json();
  options = settings(page);
  reveal(page.note);
}

const text = (side) => byId(side).querySelector(".text");
const title = (side) => byId(side).querySelector("h2");

function clear(message) {
  match = null;
  byId("empty").hidden = true;
  byId("match").hidden = false;
  byId("voting").hidden = true;
  byId("told").replaceChildren();
  byId("reason").value = "";
  byId("asked").textContent = message;
  for (const side of SIDES) {
    byId(side).className = "";
    byId(side).setAttribute("aria-busy", "true");
    title(side).textContent = side === "left" ? "Left" : "Right";
    text(side).textContent = "";
  }
  byId("talk").scrollTop = 0;
}

async function play(message) {
  clear(message);
  stopping = new AbortController();
  busy(true);
  let playing = null;
  const ended = new Set();
  try {
    const payload = { messages: [{ role: "user", content: message }], decoding: options.decoding() };
    for await (const line of lines(await call("api/match", payload, stopping.signal))) {
      const event = JSON.parse(line);
      if (event.match) playing = event.match;
      if (event.text) text(event.side).textContent += event.text;
      if (event.error) throw new Error(event.error);
      if (event.end) {
        ended.add(event.side);
        byId(event.side).setAttribute("aria-busy", "false");
      }
    }
  } catch (error) {
    tell(error.name === "AbortError" ? "Stopped: a vote needs two complete replies." : error.message, error.name !== "AbortError");
  }
  for (const side of SIDES) byId(side).setAttribute("aria-busy", "false");
  stopping = null;
  busy(false);
  if (ended.size < 2) return;
  match = playing;
  byId("voting").hidden = false;
  byId("choices").focus(); // so that keys vote
}

function tell(words, wrong = false) {
  byId("told").replaceChildren(make("p", { class: wrong ? "mark wrong" : "mark" }, words));
}

async function vote(choice) {
  if (!match) return;
  const voted = match;
  match = null; // one vote, however fast the keys
  let result;
  try {
    const body = { choice, rater: options.rater(), reason: byId("reason").value };
    result = await (await call(`api/match/${voted}/vote`, body)).json();
  } catch (error) {
    match = voted;
    tell(error.message, true);
    return;
  }
  byId("voting").hidden = true;
  for (const side of SIDES) {
    title(side).textContent = `${side === "left" ? "Left" : "Right"}: ${name(result[side])}`;
    if (choice === side || choice === "tie") byId(side).classList.add("chosen");
  }
  tell(result.ranking.length ? "Your vote is saved. All votes so far:" : "Your vote is saved.");
  if (result.ranking.length) byId("told").append(table(result.ranking));
  if (!matchMedia("(pointer: coarse)").matches) byId("say").focus({ preventScroll: true }); // a phone's keyboard would hide the names
}

const name = (model) => (model.revision ? `${model.name} at ${model.revision.slice(0, 9)}` : model.name);
const percent = (share) => `${Math.round(share * 100)} %`;

function table(ranking) {
  const row = (tag, cells) => make("tr", {}, ...cells.map((cell) => make(tag, {}, String(cell))));
  const head = row("th", ["model", "preferred", "95 % interval", "won", "tied", "lost", "both bad"]);
  const rows = ranking.map(({ model, share, low, high, wins, ties, losses, both_bad }) => row("td", [
    name(model), percent(share), `${percent(low)} to ${percent(high)}`, wins, ties, losses, both_bad]));
  return make("div", { class: "scroll" }, make("table", {}, head, ...rows));
}

for (const button of byId("choices").children) button.addEventListener("click", () => vote(button.value));
byId("voting").addEventListener("submit", (event) => event.preventDefault());
byId("stop").addEventListener("click", () => stopping?.abort());
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    stopping?.abort();
    document.activeElement?.blur();
  }
  const typing = ["TEXTAREA", "INPUT"].includes(document.activeElement?.tagName);
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS) || !match) return;
  event.preventDefault();
  vote(KEYS[event.key]);
});
const ready = start();
ready.catch((error) => reveal(error.message));
composer((message) => ready.then(() => play(message)));
