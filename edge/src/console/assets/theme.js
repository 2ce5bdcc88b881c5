// Before anything is painted: what was chosen here the last time.
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem("docket-theme"); } catch { /* a browser that keeps nothing */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
