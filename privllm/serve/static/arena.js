// The arena: one message to two models, two replies without names, one vote; then the names.

import { busy, byId, call, composer, lines, make, reveal, settings } from "./common.js";

const SIDES = ["left", "right"];
const KEYS = { 1: "left", 2: "right", 3: "tie", 4: "both_bad", ArrowLeft: "left", ArrowRight: "right", ArrowUp: "tie", ArrowDown: "both_bad" };
let options, stopping = null, match = null;
let cast = null; // the vote that can be taken back: the last one

async function start() {
  const page = await (await call("api/page")).json();
  options = settings(page);
  reveal(page.note);
}

const text = (side) => byId(side).querySelector(".text");
const title = (side) => byId(side).querySelector("h2");

function clear(message) {
  match = cast = null;
  byId("empty").hidden = true;
  byId("match").hidden = false;
  byId("voting").hidden = true;
  tell("");
  byId("board").replaceChildren();
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
    tell(error.name === "AbortError" ? "Stopped: a vote needs two complete replies." : error.message, error.name === "AbortError" ? "" : "wrong");
  }
  for (const side of SIDES) byId(side).setAttribute("aria-busy", "false");
  stopping = null;
  busy(false);
  if (ended.size < 2) return;
  match = playing;
  byId("voting").hidden = false;
  byId("choices").focus(); // so that keys vote
}

// Says something above the field, where it is in sight whatever the replies' length.
function tell(words, kind = "") {
  byId("told").textContent = words;
  byId("outcome").className = kind;
  byId("back").hidden = cast === null;
}

const SAID = { left: "Left is better", right: "Right is better", tie: "Tie", both_bad: "Both bad" };

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
    tell(error.message, "wrong");
    return;
  }
  byId("voting").hidden = true;
  for (const side of SIDES) {
    title(side).textContent = `${side === "left" ? "Left" : "Right"}: ${name(result[side])}`;
    if (choice === side || choice === "tie") byId(side).classList.add("chosen");
  }
  cast = voted;
  tell(`Your vote is saved: ${SAID[choice]}. Left was ${name(result.left)}, right ${name(result.right)}.`, "saved");
  show(result.ranking);
}

function show(ranking) {
  byId("board").replaceChildren(...(ranking.length ? [table(ranking)] : []));
  if (!matchMedia("(pointer: coarse)").matches) byId("say").focus({ preventScroll: true }); // a phone's keyboard would hide the names
}

async function takeBack() {
  const taken = cast;
  byId("back").disabled = true;
  try {
    const { ranking } = await (await call(`api/match/${taken}/vote`, null, null, "DELETE")).json();
    if (cast !== taken) return; // another match was begun meanwhile
    cast = null;
    for (const side of SIDES) byId(side).classList.remove("chosen");
    tell("Your vote was taken back: it is deleted, and counts no more.", "saved");
    show(ranking);
  } catch (error) {
    if (cast === taken) tell(`${error.message} Your vote still counts.`, "wrong");
  } finally {
    byId("back").disabled = false;
  }
}

const name = (model) => (model.revision ? `${model.name} at ${model.revision.slice(0, 9)}` : model.name);
const percent = (share) => `${Math.round(share * 100)} %`;

const COLUMNS = ["Model", "Preferred", "95 % interval", "", "Won", "Tied", "Lost", "Both bad"];

function table(ranking) {
  const votes = ranking.reduce((sum, { wins, ties, losses, both_bad }) => sum + wins + ties + losses + both_bad, 0) / 2;
  const head = make("tr", {}, ...COLUMNS.map((title) => make(title ? "th" : "td", title ? { scope: "col" } : {}, title)));
  const rows = ranking.map(({ model, share, low, high, wins, ties, losses, both_bad }) => make("tr", {},
    make("th", { scope: "row" }, name(model)),
    ...[percent(share), `${percent(low)} to ${percent(high)}`, interval(share, low, high), wins, ties, losses, both_bad]
      .map((cell) => make("td", {}, cell instanceof Node ? cell : String(cell)))));
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Leaderboard" },
    make("table", {}, make("caption", {}, `Leaderboard: how often each model would be preferred, by ${votes} vote${votes === 1 ? "" : "s"}`),
      make("thead", {}, head), make("tbody", {}, ...rows)));
}

// The interval as a line from 0 to 100 %, with a dot at the estimate and a tick at one half.
function interval(share, low, high) {
  const draw = (tag, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const line = (from, to, kind) => draw("line", { x1: 4 + 92 * from, x2: 4 + 92 * to, y1: 10, y2: 10, class: kind });
  const picture = draw("svg", { viewBox: "0 0 100 20", class: "interval", "aria-hidden": "true" });
  picture.append(line(0, 1, "axis"), draw("line", { x1: 50, x2: 50, y1: 4, y2: 16, class: "axis" }), line(low, high, "range"),
    draw("circle", { cx: 4 + 92 * share, cy: 10, r: 3.5 }));
  return picture;
}

for (const button of byId("choices").children) button.addEventListener("click", () => vote(button.value));
byId("back").addEventListener("click", takeBack);
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
