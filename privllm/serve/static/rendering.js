// Replies as Markdown: markdown-it reads it, highlight.js colours code, DOMPurify cleans what comes of it. Raw HTML and
// images stay text, and links lead to the web or to mail alone.

import { copyButton, make } from "./common.js";

const TAGS = ["a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s", "span",
  "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"];
const CLEAN = { RETURN_DOM_FRAGMENT: true, ALLOWED_TAGS: TAGS, ALLOWED_ATTR: ["href", "title", "class", "start"], ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false, ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i };
const LONGEST = 20000; // characters of code that are coloured: more would hold up the page

const markdown = window.markdownit({ html: false, breaks: true, highlight }).disable("image");

function highlight(code, language) {
  if (!window.hljs.getLanguage(language) || code.length > LONGEST) return ""; // markdown-it escapes it then
  return window.hljs.highlight(code, { language, ignoreIllegals: true }).value;
}

export function render(text) {
  const fragment = window.DOMPurify.sanitize(markdown.render(text), CLEAN);
  for (const link of fragment.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
  }
  const headings = [...fragment.querySelectorAll("h1, h2, h3, h4, h5, h6")];
  const levels = [...new Set(headings.map((heading) => heading.localName))].sort();
  for (const heading of headings) { // below the page's own heading, without gaps
    const level = levels.indexOf(heading.localName) + 2;
    heading.replaceWith(make("p", { role: "heading", "aria-level": String(level), class: "heading" }, ...heading.childNodes));
  }
  for (const table of fragment.querySelectorAll("table")) {
    const box = make("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Table" });
    table.replaceWith(box);
    box.append(table);
  }
  for (const block of fragment.querySelectorAll("pre")) frame(block);
  return fragment;
}

function frame(block) {
  const code = block.querySelector("code");
  const language = [...(code?.classList ?? [])].find((name) => name.startsWith("language-"))?.slice(9) ?? "";
  const box = make("div", { class: "code" });
  block.replaceWith(box);
  block.tabIndex = 0; // it scrolls
  block.setAttribute("role", "group");
  block.setAttribute("aria-label", language ? `Code, ${language}` : "Code");
  const text = (code ?? block).textContent;
  box.append(make("div", { class: "bar" }, make("span", {}, language), copyButton(() => text)), block);
}
