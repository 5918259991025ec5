// Runs before the first paint, so that a remembered choice does not flash.
"use strict";
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem("billfold-theme"); } catch { /* Storage may be forbidden. */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  document.documentElement.classList.add("scripted");
})();
