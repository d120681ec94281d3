// Code of both pages: elements, calls with the access token, streams, settings, copying. Text becomes elements in `rendering` alone.

export const byId = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    else if (value !== null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `static/icons.svg#${name}`);
  svg.append(use);
  return svg;
}

const KEY = "privllm-token";

let asking = null; // of all calls at once there is one dialog

function askForToken(wrong) {
  asking ??= askOnce(wrong).finally(() => { asking = null; });
  return asking;
}

function askOnce(wrong) {
  return new Promise((resolve) => {
    const field = make("input", { type: "password", id: "token", autocomplete: "off", required: "" });
    if (wrong) {
      field.setAttribute("aria-invalid", "true");
      field.setAttribute("aria-describedby", "token-wrong");
    }
    const form = make("form", { method: "dialog" },
      make("label", {}, "Access token", field),
      make("p", { class: "mark wrong", id: "token-wrong", role: "alert" }, wrong),
      make("p", { class: "mark" }, "The owner of this server creates one with “privllm token new”. It is kept until this tab is closed."),
      make("button", { class: "main" }, "Open"));
    const dialog = make("dialog", { "aria-label": "Access token" }, form);
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    form.addEventListener("submit", () => {
      sessionStorage.setItem(KEY, field.value.trim());
      dialog.remove();
      resolve();
    });
    document.body.append(dialog);
    dialog.showModal();
    field.focus();
  });
}

// Returns the response, or throws an Error with the server's message. Asks for the access token where one is needed.
export async function call(path, body = null, signal = null, method = body ? "POST" : "GET") {
  let typed = false;
  for (;;) {
    const headers = {};
    const token = sessionStorage.getItem(KEY);
    if (token) headers.Authorization = `Bearer ${token}`;
    if (body) headers["Content-Type"] = "application/json";
    let response;
    try {
      response = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("The server cannot be reached.");
    }
    if (response.ok) return response;
    if (response.status === 401) {
      if (sessionStorage.getItem(KEY) === token) {
        sessionStorage.removeItem(KEY);
        await askForToken(!token ? "" : typed ? "That token does not work: it is mistyped, or was revoked." :
          "The access token of this tab no longer works.");
      }
      typed = true;
      continue;
    }
    const failure = await response.json().catch(() => null);
    const message = failure?.error?.message ?? `the server answered ${response.status}.`;
    throw new Error(message[0].toUpperCase() + message.slice(1));
  }
}

// Yields the lines of a response as they come.
export async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    buffer += value;
    const complete = buffer.split("\n");
    buffer = complete.pop();
    yield* complete;
  }
  if (buffer) yield buffer;
}

export const randomSeed = () => crypto.getRandomValues(new Uint32Array(1))[0] >>> 1;

// The settings, the rater's stored name among them; `decoding()` returns the sampling parameters of the next reply.
export function settings(page) {
  const [temperature, topP, maxTokens, rater] = ["temperature", "top_p", "most", "rater"].map(byId);
  const show = () => {
    byId("warmth").textContent = Number(temperature.value).toFixed(2);
    byId("nucleus").textContent = Number(topP.value).toFixed(2);
  };
  temperature.value = page.usual.temperature;
  topP.value = page.usual.top_p;
  maxTokens.value = page.usual.max_tokens;
  rater.value = page.rater || localStorage.getItem("privllm-rater") || "";
  rater.disabled = Boolean(page.rater);
  for (const slider of [temperature, topP]) slider.addEventListener("input", show);
  rater.addEventListener("change", () => localStorage.setItem("privllm-rater", rater.value));
  show();
  return {
    rater: () => rater.value,
    system: () => byId("system").value.trim(),
    decoding: () => ({
      temperature: Number(temperature.value),
      top_p: Number(topP.value),
      max_tokens: Math.min(4096, Math.max(1, Math.round(Number(maxTokens.value)) || page.usual.max_tokens)),
      seed: randomSeed(),
    }),
  };
}

// Enter sends, Shift+Enter breaks the line, the field grows with its text.
export function composer(send) {
  const form = byId("composer"), field = byId("say");
  const grow = () => {
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight + 2}px`;
  };
  field.addEventListener("input", grow);
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = field.value.trim();
    if (!text || !byId("stop").hidden) return;
    field.value = "";
    grow();
    send(text);
  });
}

export function busy(state) {
  byId("send").hidden = state;
  byId("stop").hidden = !state;
}

// Keeps the end of the text in view, unless the reader has scrolled up.
export function following(act) {
  const talk = byId("talk");
  const follow = talk.scrollHeight - talk.scrollTop - talk.clientHeight < 80;
  act();
  if (follow) talk.scrollTop = talk.scrollHeight;
}

export function reveal(note, wrong = false) {
  byId("note").textContent = note;
  byId("note").classList.toggle("wrong", wrong);
  byId("note").hidden = !note;
}

// A button that copies what `text()` returns, and says that it did.
export function copyButton(text) {
  const label = make("span", {}, "Copy");
  const button = make("button", { type: "button", class: "quiet copy", on: { click: async () => {
    label.textContent = await copied(text()) ? "Copied" : "Not copied";
    setTimeout(() => { label.textContent = "Copy"; }, 2000);
  } } }, icon("copy"), label);
  label.setAttribute("aria-live", "polite");
  return button;
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch { // not on this machine and without TLS, or not allowed
    const field = make("textarea", { class: "unseen" });
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}
