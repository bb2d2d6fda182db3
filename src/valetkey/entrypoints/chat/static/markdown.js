// Markdown to elements: marked reads, this file builds. No HTML text is parsed, and no image is loaded.

import { el, safeLink } from "./dom.js";
import { lexer } from "./vendor/marked.esm.js";

const LONGEST = 200_000; // characters; beyond them an answer is shown as it is
const DEEPEST = 40; // elements in each other
const NAMED = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", hellip: "…", ndash: "–", mdash: "—" };

function decoded(text) {
  return text.replace(/&(?:#(\d{1,7})|#[xX]([\da-fA-F]{1,6})|([a-z]+));/gu, (whole, decimal, hex, name) => {
    if (name) return Object.hasOwn(NAMED, name) ? NAMED[name] : whole;
    const code = decimal ? Number.parseInt(decimal, 10) : Number.parseInt(hex, 16);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : "\ufffd";
  });
}

function link(address, children, title) {
  const href = safeLink(decoded(address ?? ""));
  if (href === null) return el("span", {}, ...children);
  const told = title ? `${decoded(title)} (${href})` : href;
  return el("a", { href, title: told, target: "_blank", rel: "noopener noreferrer nofollow" }, ...children);
}

const within = (token) => (token.tokens ? token.tokens.map(built) : [decoded(token.text ?? "")]);

function cell(tag, each) {
  const align = ["center", "right"].includes(each.align) ? `to-${each.align}` : null;
  return el(tag, { class: align, scope: tag === "th" ? "col" : null }, ...within(each));
}

function list(token) {
  const items = token.items.map((item) => el("li", { class: item.task ? "task" : null }, ...within(item)));
  const start = token.ordered && Number.isInteger(token.start) && token.start !== 1 ? token.start : null;
  return el(token.ordered ? "ol" : "ul", { start }, ...items);
}

function table(token) {
  const head = el("tr", {}, ...token.header.map((each) => cell("th", each)));
  const rows = token.rows.map((row) => el("tr", {}, ...row.map((each) => cell("td", each))));
  const made = el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows));
  return el("div", { class: "wide", role: "group", "aria-label": "Table", tabindex: "0" }, made);
}

const BUILD = {
  blockquote: (token) => el("blockquote", {}, ...within(token)),
  br: () => el("br"),
  checkbox: (token) => `${token.checked ? "☑" : "☐"} `,
  code: (token) => el("pre", { tabindex: "0" }, el("code", { text: token.text })),
  codespan: (token) => el("code", { text: token.text }),
  def: () => "",
  del: (token) => el("del", {}, ...within(token)),
  em: (token) => el("em", {}, ...within(token)),
  escape: (token) => token.text,
  heading: (token) => el(`h${Math.min(6, token.depth + 2)}`, {}, ...within(token)),
  hr: () => el("hr"),
  image: (token) => link(token.href, [`Image: ${decoded(token.text || token.href || "")}`], token.title),
  link: (token) => link(token.href, within(token), token.title),
  list,
  paragraph: (token) => el("p", {}, ...within(token)),
  space: () => "",
  strong: (token) => el("strong", {}, ...within(token)),
  table,
};

let depth = 0;

// HTML, what is nested too deep, and whatever a later version may know besides: shown as the text that it is.
function built(token) {
  if (depth >= DEEPEST) return token.raw ?? "";
  depth += 1;
  try {
    if (Object.hasOwn(BUILD, token.type)) return BUILD[token.type](token);
    if (token.type === "text") return token.tokens ? el("span", {}, ...within(token)) : decoded(token.text);
    return token.raw ?? "";
  } finally {
    depth -= 1;
  }
}

/** One answer that grows: blocks that did not change stay where they are, so that a selection survives. */
export class Markdown {
  #blocks = [];

  constructor(place) {
    this.place = place;
  }

  show(text) {
    let tokens;
    try {
      tokens = text.length > LONGEST ? [{ type: "code", raw: text, text }] : [...lexer(text)];
      if (tokens.some((token) => token.type === "def")) this.#blocks = []; // it may change what stands before it
      this.#replace(tokens.filter((token) => token.type !== "space" && token.type !== "def"));
    } catch {
      // Nested too deep, or unreadable in another way.
      this.#blocks = [];
      this.place.replaceChildren(el("p", { class: "as-is", text }));
    }
  }

  #replace(tokens) {
    let same = 0;
    while (same < tokens.length && this.#blocks[same]?.raw === tokens[same].raw) same += 1;
    const made = tokens.slice(same).map((token) => {
      const block = built(token);
      return { raw: token.raw, node: block instanceof Node ? block : el("p", { text: block }) };
    });
    for (const block of this.#blocks.splice(same)) block.node.remove();
    if (!this.#blocks.length) this.place.replaceChildren();
    this.place.append(...made.map((block) => block.node));
    this.#blocks.push(...made);
  }
}
