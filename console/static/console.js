// What the pages do beside htmx: polls that rest, rows that glide, sliders, keys, copied commands.
"use strict";

const still = matchMedia("(prefers-reduced-motion: reduce)");
const GLIDE_MS = 220;
// Of two tabs each has its own lists: questions of the same tab alone supersede each other.
const TAB = String(Math.random()).slice(2, 10);

// --- polls: a visible page asks each second with its version; rows rest under pointer or focus ---

function rests(part) {
  if (document.hidden) return true;
  if (!("rests" in part.dataset)) return false;
  return part.matches(":hover") || (part.contains(document.activeElement) && document.activeElement !== document.body);
}

document.addEventListener("htmx:config:request", (event) => {
  const { ctx } = event.detail;
  const part = ctx.sourceElement;
  if (ctx.sourceEvent?.type === "every" && rests(part)) return event.preventDefault();
  if (part.dataset.version && ctx.request.body?.set) ctx.request.body.set("version", part.dataset.version);
  const token = document.querySelector("meta[name=csrf-token]")?.content;
  if (token && ctx.request.method !== "GET") ctx.request.headers["X-CSRF-Token"] = token;
  if (part.matches("form.dials")) {
    sayAddress(part, ctx.request.body);
    if (ctx.sourceEvent?.type === "input") ctx.request.body.set("drag", "1");
  } else if ("withAddress" in part.dataset) {
    for (const [name, value] of new URLSearchParams(location.search)) ctx.request.body.set(name, value);
  }
  if (part.closest("#lists, form.dials")) ctx.request.body.set("tab_id", TAB);
});

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) for (const part of document.querySelectorAll("[data-version]")) htmx.trigger(part, "every");
});

let failures = 0;
function heard(isThere) {
  failures = isThere ? 0 : failures + 1;
  const away = document.getElementById("away");
  if (away) away.hidden = failures < 2;
}
document.addEventListener("htmx:error", (event) => event.detail.error?.name !== "AbortError" && heard(false));
document.addEventListener("htmx:after:request", (event) => {
  heard(true);
  // Signed out, or restarted: the page itself says what to do.
  if (event.detail.ctx.response.status === 401) location.reload();
});

// --- movement: where rows were before a swap, and where they are after it -------------------------

let places = new Map();
document.addEventListener("htmx:before:swap", () => {
  places = new Map();
  if (still.matches) return;
  for (const row of document.querySelectorAll("[data-glide]")) places.set(row.id, row.getBoundingClientRect().top);
});
document.addEventListener("htmx:after:swap", () => {
  if (!places.size) return prepare();
  for (const row of document.querySelectorAll("[data-glide]")) {
    const before = places.get(row.id);
    const by = before === undefined ? 0 : before - row.getBoundingClientRect().top;
    const options = { duration: GLIDE_MS, easing: "cubic-bezier(.2, .7, .3, 1)" };
    if (before === undefined) row.animate([{ opacity: 0 }, { opacity: 1 }], options);
    else if (Math.abs(by) > 1) row.animate([{ transform: `translateY(${by}px)` }, { transform: "none" }], options);
  }
  places = new Map();
  prepare();
});

// --- sliders: each with a number to type; the half-life goes by doublings, and then to none -------

// A slider of `data-scale="log"` goes from 0 to 1000 between the logarithms of two values.
function toSlider(slider, text) {
  const [least, most] = [Number(slider.dataset.least), Number(slider.dataset.most)];
  if (text === "") return Number(slider.max);
  const value = Math.min(most, Math.max(least, Number(text)));
  const part = slider.dataset.scale === "log"
    ? Math.log(value / least) / Math.log(most / least) : (value - least) / (most - least);
  return Math.round(part * 1000);
}
function toNumber(slider) {
  const [least, most] = [Number(slider.dataset.least), Number(slider.dataset.most)];
  const place = Number(slider.value);
  if (place > 1000) return "";
  const value = slider.dataset.scale === "log"
    ? least * (most / least) ** (place / 1000) : least + ((most - least) * place) / 1000;
  return slider.dataset.whole ? String(Math.round(value)) : String(Number(value.toPrecision(3)));
}
function fill(dial) {
  const slider = dial.querySelector("input[type=range]");
  const share = `${(100 * Number(slider.value)) / Number(slider.max)}%`;
  dial.querySelector(".fill .part")?.setAttribute("width", share);
  const number = dial.querySelector("input[type=number]");
  slider.setAttribute("aria-valuetext", number.value === "" ? number.placeholder : number.value);
  for (const line of document.querySelectorAll(`[data-shows="${number.name}"]`)) {
    line.setAttribute("x1", `${100 * Number(number.value || 2)}%`);
    line.setAttribute("x2", `${100 * Number(number.value || 2)}%`);
  }
}
// In the capturing phase, so that the number is right when htmx reads the form.
document.addEventListener("input", (event) => {
  const dial = event.target.closest?.(".dial");
  if (!dial) return;
  const slider = dial.querySelector("input[type=range]");
  const number = dial.querySelector("input[type=number]");
  if (event.target === slider) number.value = toNumber(slider);
  else slider.value = toSlider(slider, number.value);
  fill(dial);
}, true);

// The address holds the values that differ from those in force, so that it can be sent on.
function sayAddress(form, fields) {
  const address = new URL(location.href);
  for (const field of form.querySelectorAll("input[type=number]")) {
    const given = fields.get(field.name);
    if (given === null || given === field.dataset.now) {
      address.searchParams.delete(field.name);
      fields.delete(field.name);
    } else address.searchParams.set(field.name, given);
  }
  if (form.dataset.tab) fields.set("tab", form.dataset.tab);
  history.replaceState(history.state, "", address);
  for (const link of document.querySelectorAll("[data-with-values]")) {
    const target = new URL(link.getAttribute("href"), location.href);
    const kept = new URLSearchParams(address.search);
    for (const [name, value] of target.searchParams) if (!kept.has(name) || name === "tab") kept.set(name, value);
    target.search = kept;
    link.setAttribute("href", target.pathname + target.search);
  }
}

function showDial(name) {
  for (const dial of document.querySelectorAll(".dial")) dial.classList.toggle("shown", dial.dataset.dial === name);
  for (const chip of document.querySelectorAll(".chips button"))
    chip.setAttribute("aria-pressed", String(chip.dataset.dial === name));
}

// --- buttons --------------------------------------------------------------------------------------

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("button, a");
  if (!button) return;
  if (button.dataset.copies !== undefined) copy(button);
  if (button.dataset.dial) showDial(button.dataset.dial);
  if (button.dataset.opens) document.querySelector(button.dataset.opens)?.showModal();
  if (button.dataset.closes !== undefined) button.closest("dialog")?.close();
  if (button.dataset.resets) {
    const form = document.querySelector(button.dataset.resets);
    for (const number of form.querySelectorAll("input[type=number]")) {
      number.value = number.dataset.now;
      const dial = number.closest(".dial");
      const slider = dial.querySelector("input[type=range]");
      slider.value = toSlider(slider, number.value);
      fill(dial);
    }
    htmx.trigger(form, "change");
  }
});

async function copy(button) {
  const code = button.parentElement.querySelector("code");
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    // Without the right to write it, or without https: the command is selected, to be copied by hand.
    getSelection().selectAllChildren(code);
    return;
  }
  button.textContent = "copied";
  setTimeout(() => (button.textContent = "copy"), 1500);
}

// What was applied is in force now: the page begins with it.
document.addEventListener("close", (event) => {
  if (event.target.querySelector(".written")) location.assign(location.pathname);
}, true);

// A key presses the visible button that names it, but not with Ctrl and not while somebody types.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return;
  if (event.target.closest?.("input, textarea, select, dialog, [contenteditable]")) return;
  if (event.repeat) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const button = [...document.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key);
  if (!button || button.disabled || !button.checkVisibility()) return;
  event.preventDefault();
  button.click();
});

// --- what a new part of a page needs --------------------------------------------------------------

function prepare() {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  for (const time of document.querySelectorAll("time[data-ms]")) {
    const at = new Date(Number(time.dataset.ms));
    const text = at.toLocaleTimeString("en-GB");
    if (time.textContent !== text) time.textContent = text;
    time.title = `${at.toLocaleString("en-GB")} ${zone}`;
  }
}

// A page that Kafka or Redis kept from being made comes as soon as they are back.
async function retry() {
  const answer = await fetch(location.href).catch(() => null);
  if (answer && answer.status !== 503) location.reload();
}

document.addEventListener("DOMContentLoaded", () => {
  if (document.querySelector("[data-retries]")) setInterval(retry, 2000);
  prepare();
  for (const dial of document.querySelectorAll(".dial")) fill(dial);
  const first = document.querySelector(".dial");
  if (first) showDial(first.dataset.dial);
});
