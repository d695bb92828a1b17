"use strict";
// Decisions about doubtful labels: kept in this browser, saved as the rows of a corrections file. No server.
(() => {
  const section = document.getElementById("labels");
  const tools = section.querySelector(".deciding");
  if (!tools) return;
  const cards = [...section.querySelectorAll(".clip")];
  const by = tools.querySelector("input");
  const count = tools.querySelector("output");
  const save = tools.querySelector("[data-do=save]");
  const key = `fsat corrections ${section.dataset.dataset}`;

  // A browser may refuse storage to a page on disk: decisions then last as long as the page.
  let kept = { by: "", choices: {} };
  try {
    const found = JSON.parse(localStorage.getItem(key));
    if (found && typeof found.by === "string" && typeof found.choices === "object" && found.choices) kept = found;
  } catch {
    // Nothing was kept, or it is not ours.
  }
  const choices = new Map(Object.entries(kept.choices));
  by.value = kept.by;
  const keep = () => {
    try {
      localStorage.setItem(key, JSON.stringify({ by: by.value, choices: Object.fromEntries(choices) }));
    } catch {
      tools.querySelector(".volatile").hidden = false;
    }
  };

  const fname = (card) => card.dataset.key.slice(card.dataset.key.indexOf("/") + 1);
  const buttons = (card) => [...card.querySelectorAll(".choice button")];
  const is = (button, choice) => Boolean(choice) && choice.action === button.dataset.action && choice.label === (button.dataset.label || "");
  // What the dataset itself says needs no row.
  const rows = () => {
    const found = [];
    for (const card of cards) {
      const choice = choices.get(fname(card));
      if (choice && !(choice.action === "verify" && card.dataset.verified === "yes")) found.push([fname(card), choice.action, choice.label, by.value.trim(), "listened to in the report"]);
    }
    return found;
  };
  const show = () => {
    let decided = 0;
    for (const card of cards) {
      const choice = choices.get(fname(card));
      for (const button of buttons(card)) button.setAttribute("aria-pressed", String(is(button, choice)));
      card.toggleAttribute("data-decided", Boolean(choice));
      if (choice) decided += 1;
    }
    const n = rows().length;
    count.textContent = `${decided} of ${cards.length} decided, ${n} ${n === 1 ? "correction" : "corrections"}`;
    save.disabled = n === 0;
  };
  const choose = (button) => {
    const card = button.closest(".clip");
    if (is(button, choices.get(fname(card)))) choices.delete(fname(card));
    else choices.set(fname(card), { action: button.dataset.action, label: button.dataset.label || "" });
    keep();
    show();
  };
  section.addEventListener("click", (event) => {
    const button = event.target.closest(".choice button");
    if (button) choose(button);
  });
  by.addEventListener("input", keep);

  const field = (text) => (/[",;\t\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  save.addEventListener("click", () => {
    const lines = [["fname", "action", "label", "by", "why"], ...rows()].map((row) => row.map(field).join(","));
    const link = document.createElement("a");
    link.href = `data:text/csv;charset=utf-8,${encodeURIComponent(`${lines.join("\n")}\n`)}`;
    link.download = "corrections.csv";
    link.click();
  });
  tools.querySelector("[data-do=clear]").addEventListener("click", () => {
    for (const card of cards) choices.delete(fname(card));
    keep();
    show();
  });

  // Keys count while the focus is in a card.
  const go = (card, step) => {
    if (step > 0 && cards.slice(cards.indexOf(card) + 1).every((other) => other.hidden)) {
      const more = section.querySelector(".more");
      if (!more.hidden) more.firstElementChild.click();
    }
    const shown = cards.filter((one) => !one.hidden);
    const target = shown[shown.indexOf(card) + step];
    if (target) (target.querySelector(".play") || buttons(target)[0]).focus();
  };
  section.addEventListener("keydown", (event) => {
    const card = event.target.closest(".clip");
    if (!card || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "n") go(card, 1);
    else if (event.key === "b") go(card, -1);
    else if (event.key === "p") card.querySelector(".play")?.click();
    else if (/^[1-9]$/.test(event.key) && buttons(card)[Number(event.key) - 1]) choose(buttons(card)[Number(event.key) - 1]);
    else return;
    event.preventDefault();
  });
  show();
})();
