// Elements and texts. Whatever comes from elsewhere goes in as a text node or through safeLink.

export const byId = (id) => document.getElementById(id);

/** An element; `class`, `text` and `on` (listeners) are special, every other prop is an attribute. */
export function el(tag, props = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === false || value === null || value === undefined) continue;
    if (name === "text") made.textContent = value;
    else if (name === "on") for (const [event, heard] of Object.entries(value)) made.addEventListener(event, heard);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

const LINKS = new Set(["http:", "https:", "mailto:"]);

/** The address where it is absolute and leads to the web or to a mailbox; otherwise null. */
export function safeLink(address) {
  try {
    const url = new URL(String(address));
    return LINKS.has(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** The host that an address leads to; empty where there is none. */
export function hostOf(address) {
  const href = safeLink(address);
  return href === null ? "" : new URL(href).host;
}

// Marks that nobody sees, or that turn the reading order: a name or an argument must not hide behind them.
const UNSEEN = /[\p{Cf}\p{Co}\p{Cn}\p{Zl}\p{Zp}\u{80}-\u{9f}\u{fe00}-\u{fe0f}\u{e0100}-\u{e01ef}]/gu;
const CONTROLS = /[\u{0}-\u{8}\u{b}-\u{1f}\u{7f}]/gu;
const written = (mark) => `\\u{${mark.codePointAt(0).toString(16)}}`;

/** Somebody else's name on one line, at most `limit` characters. */
export function plain(value, limit = 200) {
  const line = String(value ?? "")
    .replace(UNSEEN, "")
    .replace(CONTROLS, " ")
    .replace(/\s+/gu, " ")
    .trim();
  const marks = [...line];
  return marks.length <= limit ? line : `${marks.slice(0, limit - 1).join("")}…`;
}

/** The whole of a value as text, with every unseen mark written out. */
export function whole(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return (text ?? "").replace(UNSEEN, written).replace(CONTROLS, written);
}

const QUARTER = 900_000; // ms; every zone on earth is a whole number of quarters of an hour from the next
let ahead = 0;

/** The server writes its own time of day, without a zone: how far that is from here is told by what it says now. */
export function learnZone(timestamp) {
  const told = new Date(timestamp ?? Number.NaN).getTime();
  ahead = Number.isNaN(told) ? 0 : Math.round((Date.now() - told) / QUARTER) * QUARTER;
}

/** A moment as the server writes it (seconds since the epoch, or ISO 8601), as a Date; null where it is none. */
export function moment(value) {
  if (value === null || value === undefined || value === "") return null;
  const zoned = typeof value === "number" || /(?:Z|[+-]\d\d:?\d\d)$/u.test(value);
  const made = new Date(typeof value === "number" ? value * 1000 : value);
  return Number.isNaN(made.getTime()) ? null : new Date(made.getTime() + (zoned ? 0 : ahead));
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

export const clock = (date) => CLOCK.format(date);

/** `<time>`, hours and minutes. */
export function timeOf(value) {
  const at = moment(value) ?? new Date();
  return el("time", { class: "when", datetime: at.toISOString(), text: clock(at) });
}

// JSON has numbers that this browser's numbers are too coarse for. What a person approves is shown as it was sent.
function exact(_, value, context) {
  if (typeof value !== "number" || Number.isSafeInteger(value) || !context?.source || !JSON.rawJSON) return value;
  const digits = context.source.replace(/[eE].*$/u, "").replace(/\D/gu, "");
  return digits.length <= 15 && Number.isFinite(value) ? value : JSON.rawJSON(context.source);
}

/** A frame from its text; null where it is no JSON object. */
export function readFrame(text) {
  try {
    const frame = JSON.parse(text);
    if (frame === null || typeof frame !== "object" || Array.isArray(frame)) return null;
    return frame.type === "approval_required" ? { ...frame, arguments: JSON.parse(text, exact).arguments } : frame;
  } catch {
    return null;
  }
}
