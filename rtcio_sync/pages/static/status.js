// Keeps the figures of the status page up to date.

const verdict = document.getElementById("verdict");

function spelt(seconds) {
  const parts = [[86_400, "d"], [3_600, "h"], [60, "min"], [1, "s"]];
  const found = [];
  let rest = Math.floor(seconds);
  for (const [size, unit] of parts) {
    if (rest >= size || (unit === "s" && !found.length)) found.push(`${Math.floor(rest / size)} ${unit}`);
    rest %= size;
  }
  return found.slice(0, 2).join(" ");
}

async function refresh() {
  let said = "The server is running.";
  try {
    const figures = await (await fetch("health", { cache: "no-store" })).json();
    if (figures.status === "degraded") said = "The server is running, but its Redis does not answer, or refuses: clients of other hosts may get nothing.";
    for (const field of document.querySelectorAll("[data-figure]")) {
      const value = figures[field.dataset.figure];
      field.textContent = field.dataset.figure === "uptime" ? spelt(value) : value.toLocaleString("en");
    }
  } catch {
    said = "The server does not answer.";
  }
  if (verdict.textContent !== said) verdict.textContent = said;
}

verdict.setAttribute("role", "status");
refresh();
setInterval(refresh, 5_000);
