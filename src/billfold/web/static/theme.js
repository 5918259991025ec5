// Runs before the first paint, so that a saved theme does not flash.
"use strict";
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem("billfold-theme"); } catch { /* Storage may be blocked. */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  document.documentElement.classList.add("scripted");
})();
