// Light, dark, or as the system has it. A classic script, so that the page is never painted in the wrong one first.
"use strict";
(() => {
  const KEY = "dtr-lb-theme";
  const WORDS = { system: "Theme: system", light: "Theme: light", dark: "Theme: dark" };
  const NEXT = { system: "light", light: "dark", dark: "system" };
  const system = window.matchMedia("(prefers-color-scheme: dark)");

  function chosen() {
    // Storage may be forbidden.
    try { return WORDS[localStorage.getItem(KEY)] ? localStorage.getItem(KEY) : "system"; } catch { return "system"; }
  }

  function apply() {
    const theme = chosen();
    const dark = theme === "dark" || (theme === "system" && system.matches);
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    const button = document.getElementById("theme");
    if (button) {
      button.textContent = WORDS[theme];
      button.setAttribute("aria-label", `${WORDS[theme]}; change to ${NEXT[theme]}`);
    }
    window.dispatchEvent(new Event("dtr-lb-theme"));
  }

  apply();
  system.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme").addEventListener("click", () => {
      try { localStorage.setItem(KEY, NEXT[chosen()]); } catch { /* It then holds for nothing. */ }
      apply();
    });
    apply();
  });
})();
