// Cards: a tool's call, an account to connect, a call to approve. All of it as text, never as markup.

import { clock, el, hostOf, moment, plain, safeLink, whole } from "./dom.js";
import { titleOf } from "./words.js";

const STATUS = { running: "running", waiting: "waiting for you", done: "done", failed: "failed", stopped: "stopped" };
const TONE = { running: "", waiting: "wait", done: "good", failed: "bad", stopped: "" };

/** What a call acted with, in words. */
export function actedWith(account) {
  if (!account) return "";
  if (typeof account === "string") return account === "none" ? "nothing" : `this session's ${titleOf(account)}`;
  if (Array.isArray(account)) return account.map(actedWith).filter(Boolean).join(", ");
  const { provider, profile, account: name, credential, type } = account;
  if (!provider || provider === "session") return actedWith(credential ?? type ?? name ?? "");
  const parts = [plain(provider), plain(name)].filter(Boolean).join(" · ");
  return profile && profile !== "default" ? `${parts} (${plain(profile)})` : parts;
}

const part = (title, value) => [
  el("h4", { text: title }),
  el("pre", { dir: "ltr", tabindex: "0", text: whole(value) }),
];

/** One call: opens to show arguments, result, time and account. */
export class CallCard {
  constructor(name) {
    this.state = el("span", { class: "state" });
    this.took = el("span", { class: "soft" });
    this.body = el("div", { class: "card-body" });
    const title = el("span", { class: "card-name" }, el("bdi", { text: plain(name) || "tool" }));
    this.place = el("details", { class: "card call" }, el("summary", {}, title, this.state, this.took), this.body);
    this.told = {};
    this.update({ status: "running" });
  }

  get ended() {
    return ["done", "failed", "stopped"].includes(this.told.status);
  }

  update(news) {
    const known = Object.fromEntries(Object.entries(news).filter(([, value]) => value !== undefined && value !== null));
    this.told = { ...this.told, ...known };
    const { status, seconds, account, result, error } = this.told;
    this.place.dataset.status = Object.hasOwn(STATUS, status) ? status : "running";
    this.state.textContent = STATUS[this.place.dataset.status];
    this.state.className = `state ${TONE[this.place.dataset.status]}`;
    const took = Number(seconds);
    this.took.textContent = Number.isFinite(took) ? `${took < 10 ? took.toFixed(1) : Math.round(took)} s` : "";
    const acted = actedWith(account);
    this.body.replaceChildren(
      ...(acted ? [el("p", { class: "facts" }, "Acted with ", el("bdi", { text: acted }))] : []),
      ...part("Arguments", this.told.arguments ?? {}),
      ...(error === undefined ? [] : part("Error", error)),
      ...(result === undefined || error !== undefined ? [] : part("Result", result)),
    );
  }
}

function until(frame, verb) {
  const at = moment(frame.expires_at);
  return at
    ? el(
        "p",
        { class: "facts passing" },
        `${verb} until `,
        el("time", { datetime: at.toISOString(), text: clock(at) }),
        ".",
      )
    : null;
}

/** What the two cards that wait for a person share: they end once, and say how. */
class Question {
  constructor(kind, title) {
    this.state = el("p", { class: "state wait", text: "waiting for you" });
    this.place = el(
      "section",
      { class: `card ask ${kind}`, "aria-label": title },
      el("h3", { text: title }),
      this.state,
    );
    this.actions = el("div", { class: "actions" });
  }

  end(tone, text) {
    if (this.ended) return;
    this.ended = true;
    const focused = this.actions.contains(document.activeElement);
    this.actions.remove();
    for (const each of this.place.querySelectorAll(".passing")) each.remove();
    this.state.className = `state ${tone}`;
    this.state.textContent = text;
    if (focused) document.getElementById("message").focus();
  }
}

/** Where the link leads, in words: first, and in the end. */
function leadsTo(frame) {
  const first = hostOf(frame.url);
  const last = plain(frame.provider_host);
  const site = first === location.host ? "this site" : first;
  if (last && last !== first.replace(/:\d+$/u, ""))
    return [
      `A page of ${site} opens first; from there you sign in at `,
      el("strong", { text: last }),
      ". Give your password nowhere else.",
    ];
  if (first === location.host) return ["A page of this site opens, and says what it needs."];
  return ["You sign in at ", el("strong", { text: last || first }), ". Give your password nowhere else."];
}

/** The code that the person enters at the provider; whoever else sends one wants their account. */
function codeOf(frame) {
  return [
    el("p", { class: "facts", text: "You will be asked for this code" }),
    el("p", { class: "passing" }, el("code", { class: "user-code", text: plain(frame.user_code) })),
  ];
}

/** An account has to be connected: names where the link leads before anybody goes there (W-21). */
export class ConnectCard extends Question {
  constructor(frame) {
    const provider = plain(frame.provider_title || frame.provider) || "The provider";
    super("connect", `Connect ${provider}`);
    const href = safeLink(frame.url);
    const web = href !== null && !href.startsWith("mailto:");
    const scopes = Array.isArray(frame.scopes) ? frame.scopes : [];
    this.actions.append(
      web
        ? el("a", { class: "button", href, target: "_blank", rel: "noopener noreferrer", text: `Connect ${provider}` })
        : el("p", { class: "error", text: "The link that came is none that this page opens." }),
    );
    this.place.append(
      el(
        "p",
        {},
        el("bdi", { text: plain(frame.tool) || "A tool" }),
        " needs your account at ",
        el("bdi", { text: provider }),
        ".",
      ),
      ...(scopes.length
        ? [
            el("p", { class: "facts", text: "It may then use" }),
            el("ul", { class: "chips" }, ...scopes.map((each) => el("li", { text: plain(each) }))),
          ]
        : []),
      ...(frame.user_code ? codeOf(frame) : []),
      el("p", { class: "passing" }, ...leadsTo(frame)),
      this.actions,
      until(frame, "The link is good") ?? "",
    );
  }

  connected() {
    this.end("good", "connected");
  }
}

const DOUBT = "If you do not know this call, refuse it. The model may have been talked into it by what it read.";

/** A call has to be approved: the tool and every argument, whole. */
export class ApprovalCard extends Question {
  /** @param answer takes "yes" or "no", and says whether it went out. */
  constructor(frame, answer) {
    const tool = plain(frame.tool) || "this tool";
    super("approve", "May this run?");
    const button = (text, decision, kind) =>
      el("button", {
        type: "button",
        class: kind,
        text,
        on: { click: () => answer(decision) && this.end(...ANSWERED[decision]) },
      });
    this.actions.append(button("Refuse", "no", "second"), button("Approve", "yes", ""));
    this.place.append(
      el(
        "p",
        {},
        "The assistant wants to call ",
        el("strong", {}, el("bdi", { text: tool })),
        " once, with exactly this:",
      ),
      el("pre", {
        dir: "ltr",
        tabindex: "0",
        class: "whole",
        role: "group",
        "aria-label": "All arguments",
        text: whole(frame.arguments ?? {}),
      }),
      JSON.rawJSON ? "" : el("p", { class: "facts", text: "This browser may show very long numbers rounded." }),
      el("p", { class: "facts passing", text: DOUBT }),
      this.actions,
      until(frame, "It waits") ?? "",
    );
  }
}

const ANSWERED = { yes: ["good", "approved"], no: ["bad", "refused"] };
