// The page: what each frame does to it, and what a person does to the chat.

import { ApprovalCard, ConnectCard } from "./cards.js";
import { byId, el, learnZone, plain } from "./dom.js";
import { Log } from "./log.js";
import { makePresets } from "./presets.js";
import { SignIn } from "./signin.js";
import { Connection } from "./socket.js";
import { closed, restored, titleOf } from "./words.js";

const config = JSON.parse(byId("config").textContent);
const log = new Log();
const message = byId("message");
const link = new Connection(config.socket, { frame: onFrame, open: onOpen, close: onClose });
const panel = config.auth.types.length ? new SignIn(config.auth, (frame) => link.send(frame)) : null;

const state = { connected: false, signedIn: "", name: "", lost: false, told: "", greeted: false };
let answer = null; // the turn that runs

function tell(text) {
  // Said even when it is the same as before.
  byId("told").textContent = "";
  requestAnimationFrame(() => {
    byId("told").textContent = text;
  });
}

function render() {
  const { connected, signedIn, name, told } = state;
  const locked = Boolean(panel?.required && !signedIn);
  const who = name ? plain(name, 60) : signedIn ? titleOf(signedIn) : "";
  const known = who ? ["Connected · ", who] : ["Connected"];
  const words = connected ? known : [told || "Connecting…"];
  byId("badge").replaceChildren(...words.map((text) => el("span", { text })));
  byId("badge").className = `state ${connected ? "good" : "wait"}`;
  byId("open-sign-in").hidden = !panel;
  byId("open-sign-in").textContent = signedIn ? "Change" : "Sign in";
  byId("open-sign-in").setAttribute("aria-label", signedIn ? "Change what tools act with" : "Sign in for tools");
  byId("log-out").hidden = !signedIn;
  byId("locked").hidden = !locked;
  byId("composer").hidden = locked;
  byId("send").hidden = answer !== null;
  byId("stop").hidden = answer === null;
  byId("send").disabled = !connected;
  byId("clear").disabled = !connected;
  for (const button of document.querySelectorAll(".preset")) button.disabled = locked || !connected;
}

function turn() {
  answer ??= log.answer();
  return answer;
}

function endTurn(told) {
  answer?.end(told);
  answer = null;
  render();
}

function say(text) {
  const words = text.trim();
  if (!words || answer || (panel?.required && !state.signedIn)) return false;
  const frame = { type: "chat", message: words };
  if (new TextEncoder().encode(JSON.stringify(frame)).length > config.longest) {
    log.note("This message is too long for the server. Shorten it, or send it in parts.", { error: true });
    return false;
  }
  if (!link.send(frame)) {
    tell("There is no connection now.");
    return false;
  }
  log.user(words);
  turn();
  render();
  return true;
}

function stop() {
  if (answer && link.send({ type: "cancel" })) tell("Stopping.");
}

// What comes in

const HEARD = {
  connection_established(frame, asked) {
    learnZone(frame.timestamp);
    const lost = restored({
      resumed: frame.resumed === true,
      asked,
      credential: panel ? state.lost : null,
      reloaded: !state.greeted,
    });
    link.keep(frame.session_id);
    Object.assign(state, { connected: true, told: "", lost: false });
    if (lost) log.note(lost);
    if (frame.resumed) link.send({ type: "history" });
    const quiet = frame.resumed && !panel?.required;
    if (!state.greeted && panel && !quiet) panel.open();
    state.greeted = true;
    tell(lost || "Connected.");
  },
  auth_configured(frame) {
    Object.assign(state, { signedIn: frame.auth_type || "bearer_token", name: frame.display_name ?? "" });
    panel?.taken();
    log.note(
      `Signed in: ${frame.display_name ? plain(frame.display_name) : titleOf(frame.auth_type)}. Tools may act with it until you log out.`,
    );
    tell("Signed in.");
    if (!answer) message.focus();
  },
  auth_failed(frame) {
    Object.assign(state, { signedIn: "", name: "" });
    HEARD.error(frame);
  },
  logout_success() {
    forget();
    log.note("You are logged out. What was said here, and what tools acted with, is forgotten.");
    tell("Logged out.");
  },
  typing(frame) {
    const text = frame.message ?? "";
    if (text === "AI is thinking..." || !text) turn().thinking.textContent = "Thinking…";
    else turn().say(text);
  },
  tool_progress(frame) {
    const words = plain(frame.message);
    if (frame.call_id) {
      turn().call(frame.call_id, frame.tool).update(frame);
      log.follow();
    }
    if (words) turn().thinking.textContent = words;
    if (frame.status !== "done") tell(words);
  },
  delta(frame) {
    turn().grow(String(frame.text ?? ""));
  },
  auth_required(frame) {
    const card = new ConnectCard(frame);
    turn().ask(frame.request_id, card);
    turn().thinking.textContent = "Waiting for you…";
    log.follow();
    tell(`${card.place.getAttribute("aria-label")}: a link is in the conversation.`);
  },
  connection_ready(frame) {
    answer?.asks.get(frame.request_id)?.connected();
    turn().thinking.textContent = "Going on…";
    tell("Connected. The tool goes on.");
  },
  approval_required(frame) {
    const id = frame.approval_id;
    const card = new ApprovalCard(frame, (decision) => link.send({ type: "approve", approval_id: id, decision }));
    turn().ask(id, card);
    turn().thinking.textContent = "Waiting for you…";
    log.follow();
    tell(`A call of ${plain(frame.tool)} waits for your approval.`);
  },
  ai_response(frame) {
    const ended = turn();
    const text = String(frame.message ?? "");
    const error = Boolean(frame.error ?? frame.metadata?.error);
    endTurn({ text, calls: frame.tool_calls ?? [], results: frame.tool_results ?? [], error });
    if (!error) tell(`Assistant: ${ended.text.innerText}`); // an error is an alert by itself
  },
  cancelled() {
    endTurn({ stopped: "Stopped." });
    tell("Stopped.");
  },
  history(frame) {
    if (answer) return;
    const notes = [...log.place.querySelectorAll(".note")].slice(-1);
    log.restore(frame.messages ?? []);
    log.place.append(...notes);
    log.toEnd();
  },
  history_cleared() {
    answer = null;
    log.clear();
    tell("The conversation is cleared.");
    message.focus();
  },
  session_expired() {
    state.told = "Ended"; // the close that follows says the rest
  },
  error(frame) {
    const text = plain(frame.message, 2000) || "Something went wrong.";
    if (panel?.refused(text)) {
      tell(text);
      return;
    }
    const waits = answer && answer.calls.size === 0 && answer.asks.size === 0;
    if (waits) endTurn({ text, error: true });
    else log.note(text, { error: true });
    if (/authentication is required/iu.test(text)) panel?.open();
  },
};

function onFrame(frame, asked) {
  if (Object.hasOwn(HEARD, frame.type)) HEARD[frame.type](frame, asked);
  render();
}

function onOpen() {
  link.send({ type: "options", stream: true });
}

function onClose(code, reason, opened) {
  const told = closed(code, plain(reason), opened);
  const news = state.connected || !state.told;
  Object.assign(state, { connected: false, lost: state.lost || Boolean(state.signedIn), signedIn: "", name: "" });
  state.told = told.again ? "Connecting again…" : "Not connected";
  panel?.refused("The connection was lost. Try again when it is back.");
  endTurn({ stopped: "Broken off: the connection was lost." });
  if (!told.again) {
    if (told.over) link.keep("");
    if (told.hide) log.clear(); // the next person at this browser may be another one
    log.note(told.text, { action: comeBack(told.hide ? config.signIn : "") });
  } else if (news) log.note(told.text);
  tell(told.text);
  render();
  return told;
}

/** A button that connects again; before it, where that is what it takes, the way to this site's own sign-in. */
function comeBack(signIn) {
  const again = el("button", { type: "button", class: "second small", text: "Connect again" });
  again.addEventListener("click", () => {
    again.disabled = true;
    state.told = "";
    link.connect();
    render();
    message.focus();
  });
  return signIn ? el("span", {}, el("a", { href: signIn, text: "Sign in" }), " ", again) : again;
}

/** Nothing of the session stays on the page. */
function forget() {
  link.keep("");
  answer = null;
  Object.assign(state, { signedIn: "", name: "", lost: false });
  message.value = "";
  log.clear();
}

// What a person does

function grow() {
  message.style.height = "auto";
  message.style.height = `${Math.min(message.scrollHeight + 2, 240)}px`;
}

byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  if (say(message.value)) {
    message.value = "";
    grow();
  }
});
message.addEventListener("input", grow);
message.addEventListener("keydown", (event) => {
  // An input method's Enter chooses a word.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  byId("composer").requestSubmit();
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.defaultPrevented && !document.querySelector("dialog[open]")) stop();
});
byId("stop").addEventListener("click", stop);
byId("open-sign-in").addEventListener("click", () => panel.open());
byId("unlock").addEventListener("click", () => panel.open());
byId("log-out").addEventListener("click", () => link.send({ type: "logout" }));
byId("clear").addEventListener("click", () => link.send({ type: "clear" }));
// A page that comes back from the browser's own memory is asked for anew.
addEventListener("pageshow", (event) => event.persisted && location.reload());
addEventListener("beforeprint", () =>
  document.querySelectorAll("details.card").forEach((card) => {
    card.open = true;
  }),
);

makePresets(config, (text) => {
  if (!say(text)) {
    message.value = text;
    grow();
    message.focus();
  }
});
setInterval(() => answer && link.check(), 20_000);
render();
link.connect();
