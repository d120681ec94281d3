// The chat page: replies stream, can be stopped and tried again, and can be rated and corrected.

import { busy, byId, call, composer, following, icon, lines, make, reveal, settings } from "./common.js";

let page, options, stopping = null;
let turns = []; // {role, content}, and of a reply also id, digest, messages, decoding, thumb, correction, reason, element

async function start() {
  page = await (await call("api/page")).json();
  options = settings(page);
  byId("title").textContent = page.model.id;
  document.title = page.model.id;
  reveal(page.model.privllm.note);
  byId("invitation").textContent = page.model.privllm.tuned === false ? "Type the beginning of a text." : "What would you like to know?";
}

function say(text) {
  byId("empty").hidden = true;
  turns.push({ role: "user", content: text });
  const element = make("p", { class: "said" });
  element.textContent = text;
  byId("turns").append(element);
  element.scrollIntoView({ block: "end" });
  reply();
}

async function reply() {
  const conversation = turns;
  const past = turns.filter((turn) => !turn.failed).map(({ role, content }) => ({ role, content }));
  const turn = { role: "assistant", content: "", messages: page.model.privllm.tuned === false ? past.slice(-1) : past };
  Object.assign(turn, { decoding: options.decoding(), thumb: "", correction: "", reason: "" });
  const text = make("p", { class: "text" });
  turn.element = make("article", { class: "reply", "aria-label": "Reply", "aria-busy": "true" }, text);
  following(() => byId("turns").append(turn.element));
  stopping = new AbortController();
  busy(true);
  let mark = "";
  try {
    const payload = { model: page.model.id, messages: turn.messages, stream: true, ...turn.decoding };
    await stream(payload, turn, text);
  } catch (error) {
    mark = error.name === "AbortError" ? "Stopped." : error.message;
  }
  const failed = turn.failed = Boolean(mark) && mark !== "Stopped.";
  if (!failed) mark = [mark, ...notes(turn)].filter(Boolean).join(" ");
  turn.element.setAttribute("aria-busy", "false");
  if (conversation !== turns) return; // a new chat has begun meanwhile
  stopping = null;
  busy(false);
  turns.push(turn);
  following(() => {
    if (mark) turn.element.append(make("p", failed ? { class: "mark wrong", role: "alert" } : { class: "mark" }, mark));
    for (const button of document.querySelectorAll(".again")) button.remove();
    turn.element.append(tools(turn));
  });
}

async function stream(payload, turn, text) {
  for await (const line of lines(await call("v1/chat/completions", payload, stopping.signal))) {
    if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
    const chunk = JSON.parse(line.slice(6));
    if (chunk.error) throw new Error(chunk.error.message);
    turn.id = chunk.id;
    turn.digest = chunk.system_fingerprint ?? "";
    turn.ended = chunk.choices[0]?.finish_reason ?? turn.ended;
    turn.leftOut = chunk.privllm?.left_out ?? turn.leftOut;
    const piece = chunk.choices[0]?.delta?.content;
    if (!piece) continue;
    turn.content += piece;
    following(() => { text.textContent = turn.content; });
  }
}

// What is to be known about a reply: that it was cut, and what the model did not see. A rating is of what it saw.
function notes(turn) {
  const found = [];
  if (turn.ended === "length") found.push("Cut off at the longest reply that was allowed, or that the model has room for.");
  if (turn.leftOut) {
    turn.messages = turn.messages.slice(turn.leftOut);
    found.push(`The first ${turn.leftOut} messages were left out: the conversation is longer than what the model sees at once.`);
  }
  return found;
}

function retry(turn) {
  if (stopping) return;
  turns = turns.slice(0, turns.indexOf(turn));
  turn.element.remove();
  reply();
}

function tools(turn) {
  const button = (name, label, act, attributes = {}) => make("button", { type: "button", title: label, "aria-label": label, on: { click: act }, ...attributes },
    icon(name), make("span", {}, label));
  const again = button("again", "Try again", () => retry(turn), { class: "again" });
  if (!turn.id) return make("div", { class: "tools" }, again);
  const status = make("span", { class: "mark", role: "status" });
  const thumbs = ["up", "down"].map((name) => button(name, name === "up" ? "Good" : "Bad", () => {
    turn.thumb = turn.thumb === name ? "" : name;
    save(turn, status);
    mark();
  }));
  const mark = () => thumbs.forEach((thumb, i) => thumb.setAttribute("aria-pressed", String(turn.thumb === ["up", "down"][i])));
  const correct = button("pencil", "Correct", () => {
    const open = turn.element.querySelector(".better");
    correct.setAttribute("aria-expanded", String(!open));
    if (open) open.remove();
    else following(() => turn.element.append(correction(turn, status, correct)));
    const better = turn.element.querySelector(".better textarea");
    better?.focus();
    better?.setSelectionRange(0, 0);
    better?.scrollTo(0, 0);
  }, { "aria-expanded": "false" });
  mark();
  return make("div", { class: "tools" }, ...thumbs, correct, again, status);
}

function correction(turn, status, opener) {
  const better = make("textarea", { name: "correction" });
  better.value = turn.correction || turn.content;
  const reason = make("input", { name: "reason", autocomplete: "off", placeholder: "optional" });
  reason.value = turn.reason;
  const close = () => {
    form.remove();
    opener.setAttribute("aria-expanded", "false");
    opener.focus();
  };
  const form = make("form", { class: "better", "aria-label": "Correction" },
    make("label", {}, "What it should have said", better),
    make("label", {}, "Why", reason),
    make("div", { class: "row" }, make("button", { class: "main" }, "Save"),
      make("button", { type: "button", class: "quiet", on: { click: close } }, "Cancel")));
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    close();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    turn.correction = better.value === turn.content ? "" : better.value;
    turn.reason = reason.value;
    if (await save(turn, status)) close();
  });
  return form;
}

async function save(turn, status) {
  const { id, digest, messages, decoding, thumb, correction, reason } = turn;
  status.className = "mark";
  try {
    await call("api/rating", { id, digest, rater: options.rater(), messages, reply: turn.content, decoding, thumb, correction, reason });
    status.textContent = "Saved.";
    return true;
  } catch (error) {
    status.classList.add("wrong");
    status.textContent = error.message;
    return false;
  }
}

byId("stop").addEventListener("click", () => stopping?.abort());
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") stopping?.abort();
});
byId("anew").addEventListener("click", () => {
  stopping?.abort();
  stopping = null;
  busy(false);
  turns = [];
  byId("turns").replaceChildren();
  byId("empty").hidden = false;
  byId("say").focus();
});
const ready = start();
ready.catch((error) => reveal(error.message));
composer((text) => ready.then(() => say(text)));
