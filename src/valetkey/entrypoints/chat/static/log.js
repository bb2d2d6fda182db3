// What was said: messages, cards and notes, in their order.

import { CallCard } from "./cards.js";
import { byId, el, timeOf } from "./dom.js";
import { Markdown } from "./markdown.js";

/** One answer of the assistant: its steps, its cards, its text. */
export class Answer {
  #text = "";
  #frame = 0;

  constructor() {
    this.calls = new Map();
    this.asks = new Map();
    this.steps = el("div", { class: "steps" });
    this.thinking = el("p", { class: "thinking", text: "Thinking…" });
    this.text = el("div", { class: "md" });
    this.place = el(
      "article",
      { class: "said assistant" },
      el("h2", { class: "unseen", text: "Assistant" }),
      this.steps,
      this.text,
      this.thinking,
    );
    this.markdown = new Markdown(this.text);
  }

  /** The card of a call; made where there is none. */
  call(id, name) {
    let card = this.calls.get(id);
    if (!card) {
      card = new CallCard(name);
      this.calls.set(id, card);
      this.steps.append(card.place);
    }
    return card;
  }

  /** A question; asked again, as more is wanted, it takes the place of the first one. */
  ask(id, card) {
    const asked = this.asks.get(id);
    if (asked && !asked.ended) asked.place.replaceWith(card.place);
    else this.steps.append(card.place);
    this.asks.set(id, card);
  }

  /** What the model says between two rounds of calls. */
  say(text) {
    const place = el("div", { class: "md interim" });
    new Markdown(place).show(text);
    this.steps.append(place);
    this.#text = "";
    this.text.replaceChildren();
    this.markdown = new Markdown(this.text);
  }

  grow(piece) {
    this.#text += piece;
    // Once per picture, whatever the number of pieces.
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      if (this.#text) this.markdown.show(this.#text);
    });
  }

  end({ text = "", calls = [], results = [], at, error = false, stopped = "" }) {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const found = new Map(results.map((each) => [each?.tool_call_id, each]));
    for (const each of calls) {
      const result = found.get(each?.id);
      const known = this.call(each?.id, each?.name);
      const failed = result?.error !== undefined || known.told.status === "failed";
      known.update({
        arguments: each?.arguments,
        result: result?.result,
        error: result?.error,
        status: failed ? "failed" : "done",
      });
    }
    for (const card of this.calls.values()) if (!card.ended) card.update({ status: "stopped" });
    for (const card of this.asks.values()) card.end("", "not needed any more");
    this.thinking.remove();
    if (error)
      this.text.replaceChildren(
        el("p", { class: "error", role: "alert", text: text || "The assistant could not answer." }),
      );
    else if (text) this.markdown.show(text);
    else if (this.#text) this.markdown.show(this.#text);
    if (stopped) this.place.append(el("p", { class: "facts", text: stopped }));
    this.place.append(timeOf(at));
  }
}

const NEAR = 80; // pixels from the end at which the log follows what comes

export class Log {
  constructor() {
    this.scroller = byId("scroller");
    this.place = byId("log");
    this.empty = byId("empty");
    this.below = byId("below");
    this.follows = true;
    this.scroller.addEventListener("scroll", () => this.#look(), { passive: true });
    this.below.addEventListener("click", () => this.toEnd());
    new ResizeObserver(() => this.follow()).observe(this.place);
  }

  #look() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    this.follows = scrollHeight - scrollTop - clientHeight < NEAR;
    this.below.hidden = this.follows;
  }

  toEnd() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.#look();
  }

  /** Something grew: stay at the end where the person was. */
  follow() {
    if (this.follows) this.toEnd();
  }

  #add(node) {
    if (node.classList.contains("said")) this.empty.hidden = true;
    this.place.append(node);
    this.follow();
    return node;
  }

  user(text, at) {
    this.follows = true;
    this.#add(
      el(
        "article",
        { class: "said user" },
        el("h2", { class: "unseen", text: "You" }),
        el("div", { class: "bubble", dir: "auto", text }),
        timeOf(at),
      ),
    );
  }

  answer() {
    const made = new Answer();
    this.#add(made.place);
    return made;
  }

  note(text, { error = false, action = null } = {}) {
    const last = this.place.lastElementChild;
    if (last?.classList.contains("note") && last.dataset.text === text) return;
    const note = el(
      "p",
      { class: error ? "note error" : "note", role: error ? "alert" : null },
      text,
      action ? " " : null,
      action,
    );
    note.dataset.text = text;
    this.#add(note);
  }

  clear() {
    this.place.replaceChildren();
    this.empty.hidden = false;
    this.follows = true;
    this.#look();
  }

  /** What the server remembers of this session. */
  restore(messages) {
    this.clear();
    for (const each of messages) {
      if (each?.role === "user") this.user(String(each.content ?? ""), each.timestamp);
      else if (each?.role === "assistant")
        this.answer().end({
          text: String(each.content ?? ""),
          calls: each.tool_calls ?? [],
          results: each.tool_results ?? [],
          at: each.timestamp,
        });
    }
    this.toEnd();
  }
}
