// The connection: opened, watched, and opened again. It knows frames, and nothing of what they mean.

import { readFrame } from "./dom.js";

const KEPT = "valetkey-chat-session"; // the only thing that the browser keeps, until the tab is closed
const FIRST = 500; // ms
const SLOW = 5_000;
const LONGEST = 30_000;
const ANSWER = 10_000; // ms that a ping may take

export class Connection {
  #socket = null;
  #tries = 0;
  #timer = 0;
  #ping = 0;
  #opened = false;

  /** @param heard { frame(frame), open(asked), close(code, reason, opened) → {again, slowly} } */
  constructor(path, heard) {
    this.path = path;
    this.heard = heard;
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.#hurry());
  }

  get open() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  get session() {
    return sessionStorage.getItem(KEPT) ?? "";
  }

  keep(session) {
    if (session) sessionStorage.setItem(KEPT, session);
    else sessionStorage.removeItem(KEPT);
  }

  connect() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const url = new URL(this.path, location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const asked = this.session;
    if (asked) url.searchParams.set("session_id", asked);
    const socket = new WebSocket(url);
    this.#socket = socket;
    this.#opened = false;
    socket.addEventListener("open", () => {
      this.#opened = true;
      this.heard.open(asked);
    });
    socket.addEventListener("message", (event) => {
      if (socket !== this.#socket) return;
      clearTimeout(this.#ping);
      const frame = readFrame(event.data);
      if (frame?.type === "connection_established") this.#tries = 0;
      if (frame && frame.type !== "pong") this.heard.frame(frame, asked);
    });
    socket.addEventListener("close", (event) => socket === this.#socket && this.#closed(event.code, event.reason));
  }

  /** Whether it went out. */
  send(frame) {
    if (!this.open) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  /** See whether anybody is still there. */
  check() {
    if (!this.send({ type: "ping" })) return;
    clearTimeout(this.#ping);
    this.#ping = setTimeout(() => this.#drop(), ANSWER);
  }

  #hurry() {
    if (this.#timer) this.connect();
    else this.check();
  }

  #drop() {
    const socket = this.#socket;
    this.#socket = null; // its own close event may come minutes later
    socket?.close();
    this.#closed(1006, "");
  }

  #closed(code, reason) {
    clearTimeout(this.#ping);
    const { again, slowly } = this.heard.close(code, reason, this.#opened);
    if (!again) return;
    const wait = Math.min(LONGEST, (slowly ? SLOW : FIRST) * 2 ** this.#tries);
    this.#tries += 1;
    this.#timer = setTimeout(() => this.connect(), wait * (0.75 + Math.random() / 2));
  }
}
