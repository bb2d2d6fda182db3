// The panel in which a person gives what the tools act with. Nothing that was entered outlives its sending.

import { byId, el } from "./dom.js";
import { TYPES, titleOf } from "./words.js";

let rows = 0;

function input(field) {
  const id = `auth-${field.name}`;
  const hint = field.hint ? el("span", { class: "hint", id: `${id}-hint`, text: field.hint }) : null;
  const made = el("input", {
    id,
    name: field.name,
    type: field.secret ? "password" : (field.type ?? "text"),
    required: field.required,
    value: field.value,
    placeholder: field.placeholder,
    autocomplete: "off",
    autocapitalize: "none",
    spellcheck: "false",
    "aria-describedby": hint ? hint.id : null,
  });
  return el("p", {}, el("label", { for: id, text: field.label }), made, hint);
}

function headerRow() {
  rows += 1;
  const name = el("input", {
    id: `header-name-${rows}`,
    name: "header",
    type: "text",
    required: true,
    autocomplete: "off",
    autocapitalize: "none",
    spellcheck: "false",
    placeholder: "X-Name",
    pattern: "[A-Za-z0-9!#$%&'*+.^_`\\|~\\-]+",
    title: "The name of a header",
  });
  const value = el("input", {
    id: `header-value-${rows}`,
    name: "value",
    type: "password",
    required: true,
    autocomplete: "off",
  });
  const row = el(
    "div",
    { class: "header-row" },
    el("p", {}, el("label", { for: name.id, text: "Header" }), name),
    el("p", {}, el("label", { for: value.id, text: "Value" }), value),
    el("button", {
      type: "button",
      class: "quiet",
      "aria-label": "Remove this header",
      text: "×",
      on: { click: remove },
    }),
  );
  function remove() {
    const next = row.previousElementSibling ?? row.nextElementSibling;
    row.remove();
    (next?.querySelector("input") ?? byId("add-header")).focus();
  }
  return row;
}

function headerRows() {
  const place = el("div", { class: "header-rows" }, headerRow());
  const add = el("button", {
    type: "button",
    id: "add-header",
    class: "second small",
    text: "Add a header",
    on: {
      click: () => {
        const row = headerRow();
        place.append(row);
        row.querySelector("input").focus();
      },
    },
  });
  return [place, add];
}

/** What a form of that type says, as a frame. */
function frameOf(type, form) {
  const frame = { type: "auth", auth_type: type };
  if (type === "custom") {
    const values = form.querySelectorAll("input[name=value]");
    const names = [...form.querySelectorAll("input[name=header]")].map((each) => each.value.trim());
    frame.custom_headers = Object.fromEntries(names.map((name, at) => [name, values[at].value]));
    return frame;
  }
  for (const field of TYPES[type].fields) {
    const { value } = form.elements.namedItem(field.name);
    if (value || field.required) frame[field.name] = field.secret ? value : value.trim();
  }
  return frame;
}

export class SignIn {
  #waiting = false;

  /** @param send sends a frame, and says whether it went out. */
  constructor({ types, required, first }, send) {
    this.required = required;
    this.send = send;
    this.dialog = byId("sign-in");
    this.form = byId("sign-in-form");
    this.fields = byId("auth-fields");
    this.error = byId("auth-error");
    this.type = byId("auth-type");
    this.first = types.includes(first) ? first : types[0];
    this.type.replaceChildren(...types.map((type) => el("option", { value: type, text: titleOf(type) })));
    byId("auth-type-row").hidden = types.length < 2;
    byId("auth-skip").hidden = required;
    this.type.addEventListener("change", () => this.#show(this.type.value));
    this.form.addEventListener("submit", (event) => this.#submit(event));
    byId("auth-skip").addEventListener("click", () => this.#shut());
    byId("auth-close").addEventListener("click", () => this.#shut());
    this.dialog.addEventListener("close", () => this.#empty());
  }

  open() {
    if (this.dialog.open) return;
    this.type.value = this.first;
    this.#show(this.first);
    this.dialog.showModal();
    this.fields.querySelector("input")?.focus();
  }

  /** The server took it. */
  taken() {
    this.#waiting = false;
    this.#shut();
  }

  /** Whether the panel was the one that asked. */
  refused(text) {
    if (!this.#waiting) return false;
    this.#rest(text);
    return true;
  }

  #show(type) {
    const { fields, hint } = TYPES[type];
    this.fields.replaceChildren(...(type === "custom" ? headerRows() : fields.map(input)));
    byId("auth-hint").textContent = hint;
    this.#rest("");
  }

  #shut() {
    this.#empty(); // the event of closing comes later
    this.dialog.close();
  }

  #empty() {
    this.fields.replaceChildren();
    this.#rest("");
  }

  #rest(text) {
    this.#waiting = false;
    this.error.textContent = text;
    this.error.hidden = !text;
    byId("auth-send").disabled = false;
    byId("auth-send").textContent = "Sign in";
  }

  #submit(event) {
    event.preventDefault();
    const type = this.type.value;
    if (type === "custom" && !this.form.querySelector("input[name=header]")) {
      this.#rest("Add at least one header.");
      return;
    }
    if (!this.send(frameOf(type, this.form))) {
      this.#rest("There is no connection now. Wait until it is back, then try again.");
      return;
    }
    this.#show(type); // cleared: from here on only the server has it
    this.#waiting = true;
    byId("auth-send").disabled = true;
    byId("auth-send").textContent = "Checking…";
  }
}
