// Prompts that are ready: a button each; its {{NAMES}} are asked for first.

import { byId, el, plain } from "./dom.js";

const NAMED = /\{\{\s*([A-Za-z0-9_]+)\s*\}\}/gu;

const textOf = (preset) => String(preset.template ?? preset.prompt ?? preset.text ?? "");
const labelOf = (preset) => plain(preset.label ?? preset.name ?? preset.title ?? textOf(preset), 80);
const wordsOf = (name) => `${name[0].toUpperCase()}${name.slice(1).toLowerCase()}`.replaceAll("_", " ");

function input(name, variable) {
  const id = `preset-${name}`;
  const common = { id, name, autocomplete: "off" };
  const given = variable.default ?? variable.value ?? "";
  if (variable.type === "checkbox")
    return el(
      "p",
      { class: "check" },
      el("input", { ...common, type: "checkbox", checked: given === true }),
      el("label", { for: id, text: plain(variable.label ?? wordsOf(name)) }),
    );
  const options = (variable.options ?? []).map((each) =>
    typeof each === "object" ? each : { value: each, label: each },
  );
  const made =
    variable.type === "select"
      ? el(
          "select",
          common,
          ...options.map((each) =>
            el("option", { value: each.value, selected: each.value === given, text: plain(each.label ?? each.value) }),
          ),
        )
      : el("input", {
          ...common,
          type: variable.type === "number" ? "number" : "text",
          step: variable.type === "number" ? "any" : null,
          value: given,
          required: variable.required ?? true,
          placeholder: variable.placeholder,
          pattern: variable.type === "number" ? null : (variable.validate ?? variable.pattern),
          maxlength: "2000",
        });
  return el("p", {}, el("label", { for: id, text: plain(variable.label ?? wordsOf(name)) }), made);
}

/** Make the buttons; `use` takes the finished text. */
export function makePresets({ presets, variables }, use) {
  const dialog = byId("preset");
  const form = byId("preset-form");
  const fields = byId("preset-fields");
  const about = new Map(variables.map((each) => [String(each.name), each]));
  let chosen = null;

  function choose(preset) {
    const text = textOf(preset);
    const names = [...new Set([...text.matchAll(NAMED)].map((found) => found[1]))];
    if (!names.length) {
      use(text);
      return;
    }
    chosen = text;
    byId("preset-title").textContent = labelOf(preset);
    fields.replaceChildren(...names.map((name) => input(name, about.get(name) ?? {})));
    dialog.showModal();
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const filled = chosen.replace(NAMED, (_, name) => {
      const field = form.elements.namedItem(name);
      return field.type === "checkbox" ? (field.checked ? "yes" : "no") : field.value;
    });
    dialog.close();
    use(filled);
  });
  byId("preset-close").addEventListener("click", () => dialog.close());

  byId("presets").replaceChildren(
    ...presets.map((preset) =>
      el(
        "li",
        {},
        el(
          "button",
          { type: "button", class: "second preset", on: { click: () => choose(preset) } },
          el("span", { text: labelOf(preset) }),
          preset.description ? el("span", { class: "hint", text: plain(preset.description) }) : null,
        ),
      ),
    ),
  );
}
