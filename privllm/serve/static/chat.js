// The chat page: replies stream, can be stopped, written on and tried again, and can be rated and corrected.

import { busy, byId, call, composer, following, lines, make, reveal, settings } from "./common.js";
import { chats, isKept, keep, showHistory, store } from "./history.js";
import { render } from "./rendering.js";
import { questionTools, replyTools, unsaved } from "./turns.js";

let page, options, stopping = null;
let chat = { id: crypto.randomUUID?.() ?? String(Math.random()), turns: [] };
// A turn is {role, content}; a reply also has id, digest, signature, system, leftOut, ended, decoding, thumb, correction, reason, rated.
// `element`, `draft` (a correction that is not saved) and what begins with $ live on the page alone.

async function start() {
  page = await (await call("api/page")).json();
  options = settings(page);
  byId("title").textContent = page.model.id;
  document.title = page.model.id;
  reveal(page.model.privllm.note);
  const tuned = page.model.privllm.tuned !== false;
  byId("invitation").textContent = tuned ? "What would you like to know?" : "Type the beginning of a text.";
  byId("instructed").hidden = !tuned;
  byId("markdown").checked = tuned;
  byId("keep").checked = isKept();
}

const isTuned = () => page.model.privllm.tuned !== false;

// The messages that the model was given for a reply: those before it that were answered, less what did not fit.
function given(reply) {
  const before = chat.turns.slice(0, chat.turns.indexOf(reply) < 0 ? undefined : chat.turns.indexOf(reply));
  const answered = before.filter((turn, i) => !turn.failed && !before[i + 1]?.failed);
  const past = answered.map(({ role, content }) => ({ role, content }));
  if (!isTuned()) return past.slice(-1);
  const kept = past.slice(reply.leftOut ?? 0);
  return reply.system ? [{ role: "system", content: reply.system }, ...kept] : kept;
}

function plain(turn) {
  const { element, draft, ...kept } = turn;
  return kept;
}

const save = () => store({ ...chat, turns: chat.turns.map(plain) });

function say(text) {
  show({ role: "user", content: text });
  byId("turns").lastElementChild.scrollIntoView({ block: "end" });
  reply();
}

function show(turn) {
  byId("empty").hidden = true;
  const text = make(turn.role === "user" ? "p" : "div", { class: "text" });
  turn.element = turn.role === "user"
    ? make("article", { class: "said", "aria-label": "You" }, text)
    : make("article", { class: "reply", "aria-label": "Reply" }, text);
  if (!chat.turns.includes(turn)) chat.turns.push(turn);
  byId("turns").append(turn.element);
  write(turn);
  if (turn.role === "user") turn.element.append(questionTools(turn, act));
}

function write(turn) {
  const text = turn.element.querySelector(".text");
  const formatted = turn.role === "assistant" && byId("markdown").checked;
  text.classList.toggle("plain", !formatted);
  text.replaceChildren(formatted ? render(turn.content) : turn.content);
}

async function reply(begun = null) {
  const conversation = chat;
  const turn = begun ?? { role: "assistant", content: "", leftOut: 0, decoding: options.decoding(), thumb: "", correction: "", reason: "",
    system: isTuned() ? options.system() : "" };
  const messages = given(turn);
  if (!begun) following(() => show(turn));
  for (const part of turn.element.querySelectorAll(".tools, .mark, .better")) part.remove();
  turn.element.setAttribute("aria-busy", "true");
  stopping = new AbortController();
  busy(true);
  let wrong = "", stopped = false;
  try {
    const payload = { model: page.model.id, messages, stream: true, ...turn.decoding, privllm: { sign: true } };
    if (begun) {
      payload.messages = [...messages, { role: "assistant", content: turn.content }];
      payload.privllm.continues = { id: turn.id, signature: turn.signature };
      payload.continue_final_message = true;
      payload.add_generation_prompt = false;
    }
    await stream(payload, turn, stopping.signal);
  } catch (error) {
    if (error.name === "AbortError") stopped = true;
    else wrong = error.message;
  }
  turn.element.setAttribute("aria-busy", "false");
  if (conversation !== chat) return; // a new chat has begun meanwhile
  stopping = null;
  busy(false);
  turn.failed = Boolean(wrong) && !turn.content;
  turn.stopped = stopped;
  following(() => finish(turn, wrong));
  save();
}

async function stream(payload, turn, signal) {
  let waiting = null; // Markdown is written again as a whole: ten times a second is enough
  const update = () => { waiting = null; following(() => write(turn)); };
  const before = turn.leftOut;
  try {
    for await (const line of lines(await call("v1/chat/completions", payload, signal))) {
      if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
      const chunk = JSON.parse(line.slice(6));
      if (chunk.error) throw new Error(chunk.error.message);
      const choice = chunk.choices[0];
      turn.id = chunk.id;
      turn.digest = chunk.system_fingerprint ?? "";
      turn.ended = choice?.finish_reason ?? turn.ended;
      turn.leftOut = before + (chunk.privllm?.left_out ?? turn.leftOut - before);
      turn.signature = choice?.privllm?.signature ?? turn.signature;
      turn.content += choice?.delta?.content ?? "";
      waiting ??= setTimeout(update, 100);
    }
  } finally {
    clearTimeout(waiting);
    update();
  }
}

function finish(turn, wrong = "") {
  const last = chat.turns.at(-1) === turn;
  const cut = turn.ended === "length" && !turn.stopped;
  const told = [];
  if (turn.stopped) told.push("Stopped.");
  if (cut) told.push("Cut off at the longest reply that was allowed, or that the model has room for.");
  if (turn.leftOut) told.push(`The first ${turn.leftOut === 1 ? "message was" : `${turn.leftOut} messages were`} left out: the conversation is longer than what the model sees at once.`);
  if (wrong) turn.element.append(make("p", { class: "mark wrong", role: "alert" }, wrong));
  else if (told.length) turn.element.append(make("p", { class: "mark" }, told.join(" ")));
  if (last) for (const button of document.querySelectorAll(".again")) button.remove();
  turn.element.append(replyTools(turn, act, { last, unfinished: last && Boolean(turn.content) && (cut || turn.stopped || Boolean(wrong)) }));
}

const mayLose = (turns) => !turns.some(unsaved) ||
  window.confirm("A correction that you typed is not saved. Go on without it?");

// Takes out a turn and all after it; returns whether it did.
function cutFrom(turn) {
  const at = chat.turns.indexOf(turn);
  if (stopping || !mayLose(chat.turns.slice(at))) return false;
  for (const gone of chat.turns.splice(at)) gone.element.remove();
  return true;
}

const act = {
  again: (turn) => { if (cutFrom(turn)) reply(); },
  resend: (turn, text) => { if (cutFrom(turn)) say(text); },
  proceed: (turn) => { if (!stopping) reply(turn); },
  given,
  rater: () => options.rater(),
  changed: save,
};

// Shows another chat, an empty one unless it is given; returns whether it did.
function open(other = { id: crypto.randomUUID?.() ?? String(Math.random()), turns: [] }) {
  if (!mayLose(chat.turns)) return false;
  stopping?.abort();
  stopping = null;
  busy(false);
  const shown = other.turns;
  chat = { ...other, turns: [] };
  byId("turns").replaceChildren();
  byId("empty").hidden = shown.length > 0;
  for (const turn of shown) {
    show(turn);
    if (turn.role === "assistant") finish(turn);
  }
  byId("talk").scrollTop = byId("talk").scrollHeight;
  byId("say").focus();
  return true;
}

byId("stop").addEventListener("click", () => stopping?.abort());
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.defaultPrevented) stopping?.abort();
});
window.addEventListener("beforeunload", (event) => {
  if (chat.turns.some(unsaved)) event.preventDefault();
});
byId("anew").addEventListener("click", () => open());
byId("past").addEventListener("click", () => showHistory(open));
byId("markdown").addEventListener("change", () => chat.turns.forEach(write));
byId("keep").addEventListener("change", (event) => {
  const kept = chats().length;
  const chatsKept = kept === 1 ? "the chat" : `the ${kept} chats`;
  if (!event.target.checked && kept && !window.confirm(`Delete ${chatsKept} that this browser keeps?`)) event.target.checked = true;
  keep(event.target.checked);
  if (event.target.checked && chat.turns.length) save();
});
const ready = start();
ready.catch((error) => reveal(error.message, true));
composer((text) => ready.then(() => say(text)));
