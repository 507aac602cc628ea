// What the pages do beyond links and forms: keys, a list that brings itself up to date, claims kept while somebody is at work.

import { Film } from "./film.js";

const SCRIPT = { "x-demur-script": "1" };
const POLL_MS = 5000;
const WARN_S = 120;

const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const help = document.getElementById("help");

document.documentElement.classList.add("scripted");
for (const button of all("[data-scriptless]")) button.hidden = true;

// Keys: each belongs to the button or link that shows it.
const isTyping = (element) => element.matches("textarea, select, input:not([type=radio])");

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target instanceof Element ? event.target : document.body;
  if (help?.open) return;
  if (isTyping(target)) {
    if (event.key === "Escape") {
      target.blur();
      event.preventDefault();
    }
    return;
  }
  if (event.key === "?") {
    help?.showModal();
    return;
  }
  if (event.repeat || (event.key === "Enter" && target !== document.body)) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const control = document.querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (control && !control.disabled) {
    event.preventDefault();
    control.click();
  } else if (key === "t" && document.getElementById("note")) {
    event.preventDefault();
    document.getElementById("note").focus();
  } else if (key === "n" && document.body.dataset.renew) {
    event.preventDefault();
    say("Give a result with 1, 2 or 3, or give the case back with Esc; then open the next.");
  } else if (key === "d") {
    document.querySelector("[data-demur]")?.click();
  }
});
for (const button of all("[data-help]")) button.addEventListener("click", () => help?.showModal());

function say(sentence) {
  const notice = document.getElementById("notice");
  notice.textContent = sentence;
  notice.hidden = false;
}

// A form is sent once, however often its key is pressed.
document.addEventListener("submit", (event) => {
  if (event.target.method === "dialog" || event.defaultPrevented) return;
  if (event.target.dataset.sent) {
    event.preventDefault();
    return;
  }
  event.target.dataset.sent = "1";
});
window.addEventListener("pageshow", () => all("form[data-sent]").forEach((form) => delete form.dataset.sent));

// Giving a case back with a note in it takes two presses.
const giveBack = document.querySelector("[data-release]");
giveBack?.addEventListener("click", (event) => {
  const note = document.getElementById("note");
  if (note?.value.trim() && !giveBack.dataset.sure) {
    event.preventDefault();
    giveBack.dataset.sure = "1";
    say("Your note is not kept when you give the case back. Press Esc again to give it back all the same.");
  }
});

// Worklist: walk with the arrow keys, choose filters, and stay up to date.
const list = document.querySelector("[data-poll]");
if (list) {
  const rows = () => all("[data-row]", list);
  document.addEventListener("keydown", (event) => {
    if (help?.open || isTyping(event.target)) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !rows().length) return;
    event.preventDefault();
    const at = rows().indexOf(document.activeElement);
    const to = at < 0 ? 0 : Math.min(rows().length - 1, Math.max(0, at + step));
    rows()[to].focus();
  });
  for (const select of all("[data-filters] select", list)) {
    select.addEventListener("change", () => select.form.submit());
  }
  const refresh = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(location.pathname + location.search, { headers: SCRIPT });
      if (answer.status === 401) return location.reload();
      if (!answer.ok) throw new Error(String(answer.status));
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const focused = document.activeElement?.dataset?.row;
      for (const id of ["live", "rows"]) {
        const present = document.getElementById(id);
        const next = fresh.getElementById(id);
        if (present.innerHTML !== next.innerHTML) present.replaceWith(document.adoptNode(next));
      }
      if (focused) document.querySelector(`[data-row="${CSS.escape(focused)}"]`)?.focus();
      list.classList.remove("stale");
    } catch {
      list.classList.add("stale");
      say("The service is not reached; this list may be out of date. It goes on trying.");
    }
    return undefined;
  };
  setInterval(refresh, POLL_MS);
  document.addEventListener("visibilitychange", refresh);
}

// Times that run down.
for (const time of all("time[data-left]")) {
  const end = performance.now() + 1000 * Number(time.dataset.left);
  const tick = setInterval(() => {
    const left = Math.max(0, Math.ceil((end - performance.now()) / 1000));
    time.textContent = `${left} s`;
    if (left > 0) return;
    clearInterval(tick);
    if (time.dataset.then === "reload") setTimeout(() => location.reload(), 2500);
    else time.closest("form")?.remove();
  }, 250);
}

// Films.
const films = all("[data-film]").map((figure) => new Film(figure));
films.forEach((film) => film.load());
const pressed = (button) => {
  const now = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(now));
  return now;
};
const tools = {
  invert: (button) => { const on = pressed(button); films.forEach((film) => film.invert(on)); },
  zoom: (button) => { const on = pressed(button); films.forEach((film) => film.zoom(!on)); },
  reset: () => {
    all("[data-tool][aria-pressed]").forEach((button) => button.setAttribute("aria-pressed", "false"));
    films.forEach((film) => film.reset());
  },
};
for (const button of all("[data-tool]")) button.addEventListener("click", () => tools[button.dataset.tool](button));

// What Demur saw comes when it is asked for, and leaves the note as it is.
document.querySelector("[data-demur]")?.addEventListener("click", async (event) => {
  event.preventDefault();
  const link = event.currentTarget;
  try {
    const answer = await fetch(link.href, { headers: SCRIPT });
    if (!answer.ok) throw new Error(String(answer.status));
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.getElementById("demur").replaceWith(document.adoptNode(fresh.getElementById("demur")));
  } catch {
    say("What Demur saw is not to be had at the moment; try again.");
  }
});

// A claim is renewed while its reader is at work, and not because a page is left open.
const { renew, lease } = document.body.dataset;
if (renew) {
  const full = Number(lease);
  let until = performance.now() + 1000 * full;
  let renewed = performance.now();
  let isActive = false;
  let isAsking = false;
  const warning = document.getElementById("lease");
  for (const kind of ["pointermove", "pointerdown", "keydown", "wheel"]) {
    document.addEventListener(kind, () => { isActive = true; }, { passive: true });
  }
  const lost = (claimId) => {
    clearInterval(watch);
    all("[data-key='1'], [data-key='2'], [data-key='3'], [data-release]").forEach((button) => { button.disabled = true; });
    warning.hidden = false;
    warning.textContent = "This case went back to the worklist, since the claim was not renewed. Copy your note if you need it. ";
    const link = document.createElement("a");
    link.href = claimId ? `/cases/${claimId}` : "/worklist";
    link.textContent = claimId ? "Claim it again" : "Go to the worklist";
    warning.append(link);
  };
  const ask = async () => {
    isAsking = true;
    isActive = false;
    try {
      const answer = await fetch(renew, { method: "POST", headers: SCRIPT });
      if (answer.status === 401) return location.reload();
      const body = await answer.json();
      if (answer.status === 409) return lost(body.claim_id);
      renewed = performance.now();
      until = renewed + 1000 * body.lease_s;
      warning.hidden = true;
    } catch {
      // The service was not reached: the time runs on, and the next sign of work asks again.
    } finally {
      isAsking = false;
    }
    return undefined;
  };
  const watch = setInterval(() => {
    const left = Math.round((until - performance.now()) / 1000);
    const isDue = performance.now() - renewed > Math.min(60, full / 4) * 1000;
    if (isActive && isDue && !isAsking) ask();
    if (left <= 0) {
      warning.hidden = false;
      warning.textContent = "The claim has run out. Move the pointer to see whether the case is still yours.";
    } else if (left < Math.min(WARN_S, full / 2)) {
      warning.hidden = false;
      warning.textContent = `Are you still reading? In ${left} s this case goes back to the worklist. Move the pointer to keep it.`;
    }
  }, 1000);
}
