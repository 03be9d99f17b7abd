// Forms: what was given, and what the service says is wrong with it, at its field.

import { Problem } from "./api.js";
import { h, notify } from "./dom.js";

/** Return what the form has: numbers as numbers, empty fields left out. */
export function given(form) {
  const found = {};
  for (const control of form.elements) {
    const text = control.value.trim();
    if (!control.name || text === "") continue;
    found[control.name] = control.type === "number" ? control.valueAsNumber : text;
  }
  return found;
}

/** Show a problem: its errors at the fields that they name, all others in one line. */
export function showProblem(form, problem) {
  clear(form);
  const others = [];
  const marked = new Map();
  for (const { path, message } of problem.errors) {
    const control = form.elements.namedItem(path.split(/[.[]/)[0]);
    if (control) marked.set(control, [...marked.get(control) ?? [], message]);
    else others.push(path ? `${path}: ${message}` : message);
  }
  marked.forEach((messages, control) => mark(control, messages.join("; ")));
  if (!problem.errors.length) others.push(problem.message);
  if (others.length) {
    form.prepend(h("p", { class: "error of-form", role: "alert" }, others.join("; ")));
  }
  form.querySelector("[aria-invalid]")?.focus();
}

function mark(control, message) {
  const id = `${control.id}-error`;
  control.setAttribute("aria-invalid", "true");
  control.dataset.described = control.getAttribute("aria-describedby") ?? "";
  control.setAttribute("aria-describedby", `${id} ${control.dataset.described}`.trim());
  control.after(h("span", { id, class: "error of-field" }, message));
}

export function clear(form) {
  form.querySelectorAll(".error").forEach((element) => element.remove());
  for (const control of form.querySelectorAll("[aria-invalid]")) {
    control.removeAttribute("aria-invalid");
    control.setAttribute("aria-describedby", control.dataset.described);
  }
}

/** Return a listener that does *action* with the form's content, and shows its problems. */
export const onSubmit = (action) => async (event) => {
  event.preventDefault();
  const form = event.currentTarget;
  clear(form);
  try {
    await action(given(form), form, event.submitter);
  } catch (error) {
    explain(error, (problem) => showProblem(form, problem));
  }
};

/** Return a listener that does *action*, says what it has done, or what went wrong. */
export const onClick = (action) => async ({ currentTarget: button }) => {
  const hadFocus = document.activeElement === button;
  button.disabled = true;
  try {
    const said = await action();
    if (said) notify(said);
  } catch (error) {
    explain(error, ({ message }) => notify(message, true));
  } finally {
    button.disabled = false;
    // Who works by keyboard lost it with the button.
    if (hadFocus && document.activeElement === document.body) button.focus();
  }
};

/** Let *show* say what went wrong, unless nobody waits for it any more. */
export function explain(error, show) {
  if (error.name === "AbortError") return;
  if (!(error instanceof Problem)) throw error;
  show(error);
}
