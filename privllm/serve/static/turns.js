// What can be done with a message: copied, edited and sent again; and with a reply: rated, corrected, written on, tried again.

import { byId, call, copyButton, following, icon, make } from "./common.js";

const button = (name, label, act, attributes = {}) => make("button", { type: "button", title: label, "aria-label": label,
  on: { click: act }, ...attributes }, icon(name), make("span", {}, label));

// A correction, or a changed message, that was typed and is neither saved nor sent.
export const unsaved = (turn) => turn.draft !== undefined;

export function questionTools(turn, act) {
  const edit = button("pencil", "Edit", () => {
    const open = turn.element.querySelector(".better");
    edit.setAttribute("aria-expanded", String(!open));
    if (open) open.remove();
    else turn.element.append(editing(turn, act, edit));
    turn.element.querySelector(".better textarea")?.focus();
  }, { "aria-expanded": "false" });
  return make("div", { class: "tools" }, edit, copyButton(() => turn.content));
}

function editing(turn, act, opener) {
  const field = make("textarea", { name: "message" });
  field.value = turn.draft?.text ?? turn.content;
  field.addEventListener("input", () => { turn.draft = { text: field.value }; });
  return form("Message", [make("label", {}, "Send this instead", field)], "Send", {
    done: () => {
      const text = field.value.trim();
      if (!text || !byId("stop").hidden) return;
      turn.draft = undefined;
      act.resend(turn, text);
    },
    discard: () => { turn.draft = undefined; },
    opener,
  });
}

export function replyTools(turn, act, { last, unfinished }) {
  const again = button("again", "Try again", () => act.again(turn), { class: "again" });
  const on = button("more", "Continue", () => act.proceed(turn), { class: "again" });
  if (!turn.id || turn.failed) return make("div", { class: "tools" }, again);
  const status = make("span", { class: "mark", role: "status" });
  const thumbs = ["up", "down"].map((name) => button(name, name === "up" ? "Good" : "Bad", () => {
    turn.thumb = turn.thumb === name ? "" : name;
    save(turn, act, status).then(mark);
    mark();
  }));
  const correct = button("pencil", "Correct", () => {
    const open = turn.element.querySelector(".better");
    correct.setAttribute("aria-expanded", String(!open));
    if (open) open.remove();
    else following(() => turn.element.append(correction(turn, act, status, correct, mark)));
    const better = turn.element.querySelector(".better textarea");
    better?.focus();
    better?.setSelectionRange(0, 0);
    better?.scrollTo(0, 0);
  }, { "aria-expanded": "false" });
  const back = button("back", "Take back", () => {
    Object.assign(turn, { thumb: "", correction: "", reason: "" });
    save(turn, act, status).then(mark);
  });
  const mark = () => {
    thumbs.forEach((thumb, i) => thumb.setAttribute("aria-pressed", String(turn.thumb === ["up", "down"][i])));
    back.hidden = !turn.rated;
    correct.classList.toggle("kept", unsaved(turn));
  };
  mark();
  const tools = [...thumbs, correct, copyButton(() => turn.content)];
  if (unfinished) tools.push(on);
  if (last) tools.push(again);
  return make("div", { class: "tools" }, ...tools, back, status);
}

function correction(turn, act, status, opener, mark) {
  const better = make("textarea", { name: "correction" });
  better.value = turn.draft?.text ?? (turn.correction || turn.content);
  const reason = make("input", { name: "reason", autocomplete: "off", placeholder: "optional" });
  reason.value = turn.draft?.reason ?? turn.reason;
  for (const field of [better, reason]) {
    field.addEventListener("input", () => {
      turn.draft = { text: better.value, reason: reason.value };
      mark();
    });
  }
  return form("Correction", [make("label", {}, "What it should have said", better), make("label", {}, "Why", reason)], "Save", {
    done: async (close) => {
      const before = { correction: turn.correction, reason: turn.reason };
      turn.correction = better.value === turn.content ? "" : better.value;
      turn.reason = reason.value;
      if (await save(turn, act, status)) {
        turn.draft = undefined;
        close();
      } else Object.assign(turn, before);
      mark();
    },
    discard: () => {
      turn.draft = undefined;
      mark();
    },
    opener,
  });
}

// A form below a message. Escape closes it and keeps what was typed for the next time; Discard does not.
function form(label, fields, main, { done, discard, opener }) {
  const close = () => {
    element.remove();
    opener.setAttribute("aria-expanded", "false");
    opener.focus();
  };
  const element = make("form", { class: "better", "aria-label": label }, ...fields,
    make("div", { class: "row" }, make("button", { class: "main" }, main),
      make("button", { type: "button", class: "quiet", on: { click: () => { discard(); close(); } } }, "Discard")));
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.isComposing) return;
    event.preventDefault();
    close();
  });
  element.addEventListener("submit", (event) => {
    event.preventDefault();
    done(close);
  });
  return element;
}

// Stores the rating, or takes it back where nothing is left of it; returns whether that worked.
async function save(turn, act, status) {
  const { id, digest, signature, decoding, thumb, correction, reason } = turn;
  status.className = "mark";
  try {
    if (thumb || correction || reason) {
      await call("api/rating", { id, digest, signature, rater: act.rater(), messages: act.given(turn), reply: turn.content, decoding, thumb,
        correction, reason });
      turn.rated = true;
      status.textContent = "Saved.";
    } else if (turn.rated) {
      await call(`api/rating/${encodeURIComponent(id)}`, null, null, "DELETE");
      turn.rated = false;
      status.textContent = "Taken back.";
    }
    act.changed();
    return true;
  } catch (error) {
    status.classList.add("wrong");
    status.textContent = error.message;
    return false;
  }
}
