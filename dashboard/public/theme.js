// Runs before the first paint, so that a chosen theme does not flash. The rest is in src/lib/theme.ts.
try {
  const theme = localStorage.getItem("nexo-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // A browser that forbids storage follows the system.
}
