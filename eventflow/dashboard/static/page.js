// Local times, ticking durations, tabs, keys, and copying: what the page does by itself.
"use strict";
(() => {
  const zone = new Intl.DateTimeFormat([], { timeZoneName: "short" });
  const pad = (number, width = 2) => String(number).padStart(width, "0");

  function zoneOf(date) {
    const part = zone.formatToParts(date).find((each) => each.type === "timeZoneName");
    return part ? part.value : "";
  }

  function localTime(date) {
    const time = `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
    const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
    return date.toDateString() === new Date().toDateString() ? time : `${day} ${time}`;
  }

  function inWords(seconds) {
    if (seconds < 60) return `${Math.max(0, seconds).toFixed(0)} s`;
    const minutes = Math.floor(seconds / 60);
    if (minutes < 60) return `${minutes} min ${pad(Math.floor(seconds % 60))} s`;
    return `${Math.floor(minutes / 60)} h ${pad(minutes % 60)} min`;
  }

  function setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  function showTimes() {
    for (const element of document.querySelectorAll("time[datetime]")) {
      const date = new Date(element.dateTime);
      const millis = element.classList.contains("exact") ? `.${pad(date.getMilliseconds(), 3)}` : "";
      setText(element, localTime(date) + millis);
      const exact = `${element.dateTime} · ${localTime(date)}.${pad(date.getMilliseconds(), 3)} ${zoneOf(date)}`;
      if (element.title !== exact) element.title = exact;
    }
  }

  function tick() {
    for (const element of document.querySelectorAll(".ticking[data-since]")) {
      setText(element, inWords((Date.now() - new Date(element.dataset.since)) / 1000));
    }
  }

  // -- tabs -------------------------------------------------------------------------------------

  function showTab() {
    const tabs = [...document.querySelectorAll(".tabs a")];
    if (!tabs.length) return;
    const wanted = location.hash.slice(1);
    const known = tabs.map((tab) => tab.hash.slice(1));
    const chosen = known.includes(wanted) ? wanted : known[0];
    for (const tab of tabs) {
      const isChosen = tab.hash.slice(1) === chosen;
      if (isChosen === tab.hasAttribute("aria-current")) continue;
      if (isChosen) tab.setAttribute("aria-current", "true");
      else tab.removeAttribute("aria-current");
    }
    document.body.dataset.tab = chosen;
  }

  // -- keys -------------------------------------------------------------------------------------

  let before = "";

  function move(step) {
    const rows = [...document.querySelectorAll(".row")].filter((row) => row.offsetParent !== null);
    if (!rows.length) return;
    const now = rows.findIndex((row) => row.classList.contains("at"));
    const next = now < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, now + step));
    rows.forEach((row, index) => row.classList.toggle("at", index === next));
    const target = rows[next].querySelector("a.run, summary, button");
    if (target) target.focus({ preventScroll: true });
    rows[next].scrollIntoView({ block: "nearest" });
  }

  function onKey(event) {
    const element = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (element.matches("input, textarea, select")) {
      if (event.key === "Escape") element.blur();
      return;
    }
    const filter = document.querySelector("[data-filter]");
    const help = document.getElementById("help");
    const after = before + event.key;
    before = event.key === "g" ? "g" : "";
    if (event.key === "/" && filter) { event.preventDefault(); filter.focus(); filter.select(); }
    else if (event.key === "j") move(1);
    else if (event.key === "k") move(-1);
    else if (event.key === "?" && help && !help.open) help.showModal();
    else if (after === "gr") location.href = "/";
    else if (after === "gd") location.href = "/deliveries";
  }

  // -- the rest ---------------------------------------------------------------------------------

  async function copy(button) {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }

  function onClick(event) {
    const button = event.target.closest("button");
    if (button && button.matches(".copy")) copy(button).catch(() => {});
    if (button && button.id === "help-button") document.getElementById("help").showModal();
  }

  function connection(text, lost) {
    const shown = document.getElementById("connection");
    if (!shown) return;
    setText(shown, text);
    shown.classList.toggle("lost", lost);
  }

  let fading = 0;

  function start() {
    const more = document.querySelector(".more-filters");
    const given = more && [...more.querySelectorAll("input")].some((each) => each.value);
    if (more && !given && matchMedia("(max-width: 44rem)").matches) more.open = false;
    const zoned = document.getElementById("zone");
    if (zoned) setText(zoned, zoneOf(new Date()));
    showTimes();
    showTab();
    tick();
    setInterval(tick, 1000);
    const part = document.getElementById("part");
    if (part) new MutationObserver(() => { showTimes(); showTab(); tick(); }).observe(part, { childList: true, subtree: true, characterData: true });
    const said = document.getElementById("said");
    if (said) {
      new MutationObserver(() => {
        clearTimeout(fading);
        fading = setTimeout(() => { said.replaceChildren(); }, 8000);
      }).observe(said, { childList: true });
    }
    addEventListener("hashchange", showTab);
    addEventListener("keydown", onKey);
    addEventListener("click", onClick);
    document.addEventListener("htmx:sse:after:connection", () => connection("Live", false));
    document.addEventListener("htmx:sse:error", () => connection("Not connected", true));
  }

  start();
})();
