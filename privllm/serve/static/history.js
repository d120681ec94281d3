// Chats that are kept in this browser, for who wants that: a list to search, open, export and delete. The server sees nothing of it.

import { byId, icon, make, reveal } from "./common.js";

const KEPT = "privllm-chats", WANTED = "privllm-keep";

export const isKept = () => localStorage.getItem(WANTED) === "yes";

// Deletes what was kept where it is no longer wanted; returns whether that is so.
export function keep(wanted) {
  if (wanted) localStorage.setItem(WANTED, "yes");
  else {
    localStorage.removeItem(WANTED);
    localStorage.removeItem(KEPT);
  }
}

export function chats() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEPT) ?? "[]");
    return Array.isArray(kept) ? kept : [];
  } catch {
    return []; // somebody else's
  }
}

function write(all) {
  try {
    localStorage.setItem(KEPT, JSON.stringify(all));
  } catch {
    reveal("This browser has no room for more chats: delete some under History.");
  }
}

export function store(chat) {
  if (!isKept()) return;
  const title = chat.turns.find((turn) => turn.role === "user")?.content.split("\n")[0].slice(0, 80) ?? "";
  write([{ ...chat, title, time: new Date().toISOString() }, ...chats().filter((other) => other.id !== chat.id)]);
}

const remove = (id) => write(chats().filter((chat) => chat.id !== id));

export function showHistory(open) {
  const search = make("input", { type: "search", id: "search", autocomplete: "off" });
  const list = make("ul", { class: "chats" });
  const status = make("p", { class: "mark", role: "status" });
  const fill = () => {
    const words = search.value.trim().toLowerCase();
    const found = chats().filter((chat) => !words || JSON.stringify(chat.turns.map((turn) => turn.content)).toLowerCase().includes(words));
    list.replaceChildren(...found.map(row));
    status.textContent = found.length ? "" : words ? "No chat holds these words." : isKept() ? "No chats yet." :
      "Chats are not kept. Turn on “Keep chats in this browser” in the settings to find them here later.";
  };
  const row = (chat) => make("li", {},
    make("button", { type: "button", class: "quiet open", on: { click: () => { if (open(chat)) dialog.close(); } } },
      make("span", {}, chat.title || "Untitled"), make("span", { class: "mark" }, new Date(chat.time).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }))),
    make("button", { type: "button", class: "quiet", "aria-label": `Delete ${chat.title}`, title: "Delete",
      on: { click: () => { remove(chat.id); fill(); search.focus(); } } }, icon("bin")));
  const dialog = make("dialog", { class: "past", "aria-label": "History" }, make("form", { method: "dialog" },
    make("label", {}, "Search chats", search), list, status,
    make("div", { class: "row" },
      make("button", { class: "main" }, "Close"),
      make("button", { type: "button", class: "quiet", on: { click: exportAll } }, "Export all"),
      make("button", { type: "button", class: "quiet", on: { click: () => {
        if (window.confirm("Delete all chats that this browser keeps?")) write([]);
        fill();
      } } }, "Delete all"))));
  search.addEventListener("input", fill);
  search.addEventListener("keydown", (event) => { if (event.key === "Enter") event.preventDefault(); });
  dialog.addEventListener("close", () => { dialog.remove(); byId("past").focus(); });
  document.body.append(dialog);
  fill();
  dialog.showModal();
}

function exportAll() {
  const url = URL.createObjectURL(new Blob([JSON.stringify(chats(), null, 2)], { type: "application/json" }));
  make("a", { href: url, download: "privllm-chats.json" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
