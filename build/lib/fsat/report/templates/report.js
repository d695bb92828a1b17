"use strict";
// The page's behaviour. All text from the dataset goes through textContent: it is data, never markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (tag, text, attributes = {}) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };

  // --- switches: one of several views ---
  for (const set of all("[data-switch]")) {
    const show = () => {
      const value = set.querySelector("input:checked").value;
      for (const view of all(`[data-view="${set.dataset.switch}"]`)) view.hidden = view.dataset.value !== value;
    };
    set.addEventListener("change", show);
    show(); // a reload may bring back another choice
  }

  // --- the section that is being read ---
  const links = new Map(all(".contents a").map((link) => [link.hash.slice(1), link]));
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        const link = links.get(entry.target.id);
        if (!entry.isIntersecting) link.removeAttribute("aria-current");
        else {
          link.setAttribute("aria-current", "true");
          const list = link.closest("ul");
          list.scrollLeft = link.offsetLeft - list.offsetLeft - list.clientWidth / 2 + link.offsetWidth / 2;
        }
      }
    },
    { rootMargin: "-15% 0px -80% 0px" },
  );
  for (const id of links.keys()) watcher.observe(document.getElementById(id));

  // --- pictures and sound ---
  let playing = null;
  const stop = () => playing && playing.pause();
  const equip = (button, key) => {
    const clip = data.media[key];
    const image = button.querySelector("img");
    const head = button.querySelector(".head");
    image.src = clip.png;
    let sound = null;
    const start = () => {
      sound = new Audio();
      sound.src = clip.mp3;
      button.append(sound);
      sound.addEventListener("play", () => {
        if (playing && playing !== sound) playing.pause();
        playing = sound;
        button.setAttribute("aria-pressed", "true");
        head.hidden = false;
        const move = () => {
          head.style.left = `${Math.min(100, (100 * sound.currentTime) / clip.s)}%`;
          if (!sound.paused) requestAnimationFrame(move);
        };
        move();
      });
      const rest = () => button.setAttribute("aria-pressed", "false");
      sound.addEventListener("pause", rest);
      sound.addEventListener("ended", () => {
        rest();
        head.hidden = true;
        sound.currentTime = 0;
      });
    };
    button.addEventListener("click", () => {
      if (!sound) start();
      if (!sound.paused) sound.pause();
      // A browser may refuse to play; the button then shows that nothing plays.
      else sound.play().catch(() => button.setAttribute("aria-pressed", "false"));
    });
  };
  for (const card of all(".clip")) {
    const button = card.querySelector(".play");
    if (button) equip(button, card.dataset.key);
  }
  const player = (key, name) => {
    const button = make("button", undefined, { type: "button", class: "play", "aria-pressed": "false", "aria-label": `Play ${name}` });
    const head = make("span", undefined, { class: "head" });
    head.hidden = true;
    button.append(make("img", undefined, { alt: "" }), head, make("span", undefined, { class: "icon", "aria-hidden": "true" }));
    equip(button, key);
    return button;
  };

  // --- lists of clips: filter, and a short list first ---
  const FIRST = 8;
  const fold = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  for (const tools of all(".tools[data-for]")) {
    const section = document.getElementById(tools.dataset.for);
    const cards = all(".clip", section);
    const search = tools.querySelector("input[type=search]");
    const check = tools.querySelector("input[type=checkbox]");
    const more = section.querySelector(".more");
    let expanded = false;
    const show = () => {
      const words = fold(search.value).split(/\s+/).filter(Boolean);
      const fits = cards.filter((card) => {
        const text = fold(card.dataset.text);
        return words.every((word) => text.includes(word)) && !(check && check.checked && card.dataset.verified === "yes");
      });
      const shown = new Set(expanded ? fits : fits.slice(0, FIRST));
      for (const card of cards) card.hidden = !shown.has(card);
      more.hidden = fits.length === shown.size;
      more.firstElementChild.textContent = `Show all ${fits.length}`;
      tools.querySelector(".found").textContent = fits.length === cards.length ? `${cards.length} clips` : `${fits.length} of ${cards.length} clips`;
    };
    search.addEventListener("input", show);
    if (check) check.addEventListener("change", show);
    more.firstElementChild.addEventListener("click", () => {
      expanded = true;
      const next = cards.filter((card) => !card.hidden).length;
      show();
      const card = cards.filter((one) => !one.hidden)[next];
      const target = card && card.querySelector(".play");
      if (target) target.focus({ preventScroll: true });
    });
    show();
  }

  // --- table of classes: filter and sort ---
  const classFilter = document.querySelector('[data-filter="classes"]');
  classFilter.addEventListener("input", () => {
    const text = fold(classFilter.value.trim());
    for (const row of all(".classes tbody tr")) row.hidden = !fold(row.dataset.text).includes(text);
  });
  for (const table of all("[data-sortable]")) {
    const heads = all("thead th", table);
    for (const [column, head] of heads.entries()) {
      const button = head.querySelector("button");
      if (!button) continue;
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const value = (row) => row.cells[column].dataset.sort;
        const compare = column === 0 ? (a, b) => value(a).localeCompare(value(b)) : (a, b) => value(a) - value(b);
        const body = table.tBodies[0];
        body.append(...[...body.rows].sort((a, b) => (down ? -1 : 1) * compare(a, b)));
      });
    }
  }

  // --- tooltip ---
  const tip = document.getElementById("tip");
  const showTip = (text, box) => {
    tip.textContent = text;
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    const left = Math.max(6, Math.min(innerWidth - width - 6, box.left + box.width / 2 - width / 2));
    tip.style.left = `${left}px`;
    tip.style.top = `${box.top > height + 12 ? box.top - height - 8 : box.bottom + 8}px`;
  };
  const hideTip = () => {
    tip.hidden = true;
  };
  addEventListener("scroll", hideTip, { passive: true });

  // --- confusion matrix ---
  const LISTED = 60;
  const percent = (permille) => (permille > 0 && permille < 5 ? "<1 %" : permille >= 995 && permille < 1000 ? ">99 %" : `${Math.round(permille / 10)} %`);
  const describe = (row, split) => {
    const [fname, foldNumber, , verified, freesound, ...guesses] = row;
    const item = make("li");
    item.append(make("bdi", fname));
    const facts = [];
    for (let i = 0; i < guesses.length; i += 2) facts.push(`${data.labels[guesses[i]]} ${percent(guesses[i + 1])}`);
    if (foldNumber >= 0) facts.push(`fold ${foldNumber}`);
    if (verified >= 0) facts.push(verified ? "verified" : "not verified");
    const line = make("small", facts.join(" · "));
    if (freesound) {
      line.append(" · ", make("a", "Freesound", { href: `https://freesound.org/s/${Number(freesound)}/`, rel: "noreferrer" }));
    }
    item.append(line);
    const key = `${split === "heldout" ? "train" : "test"}/${fname}`;
    if (Object.hasOwn(data.media, key)) item.append(player(key, fname));
    return item;
  };
  for (const view of all(".confusion")) {
    const split = view.dataset.split;
    const picked = view.querySelector(".picked");
    const cells = all(".cell", view);
    const names = all(".name", view);
    const at = (row, column) => cells.find((cell) => cell.dataset.row === row && cell.dataset.column === column);
    const light = (cell) => {
      for (const name of names) {
        const is = cell && (name.dataset.row === cell.dataset.row || name.dataset.column === cell.dataset.column);
        name.classList.toggle("lit", Boolean(is));
      }
    };
    const choose = (row, column) => {
      stop();
      for (const cell of cells) cell.removeAttribute("aria-pressed");
      at(row, column).setAttribute("aria-pressed", "true");
      const clips = data.clips[split].filter((clip) => clip[2] === Number(row) && clip[5] === Number(column));
      const title = make("h3");
      title.append(make("bdi", data.labels[row]), row === column ? " tagged right" : " → ", ...(row === column ? [] : [make("bdi", data.labels[column])]));
      title.append(" ", make("small", `${clips.length} ${clips.length === 1 ? "clip" : "clips"}`));
      const list = make("ul");
      list.append(...clips.slice(0, LISTED).map((clip) => describe(clip, split)));
      if (clips.length > LISTED) list.append(make("li", `… and ${clips.length - LISTED} more`));
      picked.replaceChildren(title, list);
    };
    if (cells.length) cells[0].setAttribute("tabindex", "0");
    const focus = (cell) => {
      for (const other of cells) other.setAttribute("tabindex", "-1");
      cell.setAttribute("tabindex", "0");
      cell.focus();
    };
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const n = data.labels.length;
    const neighbour = (cell, [down, right]) => {
      // The nearest filled cell in that direction: in the same row or column if there is one, else the next in line.
      const row = Number(cell.dataset.row);
      const column = Number(cell.dataset.column);
      const order = cells
        .map((other) => [other, Number(other.dataset.row) - row, Number(other.dataset.column) - column])
        .filter(([, dr, dc]) => (down ? dr * down > 0 : dc * right > 0))
        .map(([other, dr, dc]) => [down ? Math.abs(dr) + n * Math.abs(dc) : Math.abs(dc) + n * Math.abs(dr), other]);
      return order.sort((a, b) => a[0] - b[0]).map(([, other]) => other)[0];
    };
    for (const cell of cells) {
      const enter = () => {
        showTip(cell.getAttribute("aria-label"), cell.getBoundingClientRect());
        light(cell);
      };
      const leave = () => {
        hideTip();
        light(null);
      };
      cell.addEventListener("pointerenter", enter);
      cell.addEventListener("focus", enter);
      cell.addEventListener("pointerleave", leave);
      cell.addEventListener("blur", leave);
      cell.addEventListener("click", () => choose(cell.dataset.row, cell.dataset.column));
      cell.addEventListener("keydown", (event) => {
        if (event.key in step) {
          event.preventDefault();
          const next = neighbour(cell, step[event.key]);
          if (next) focus(next);
        } else if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          choose(cell.dataset.row, cell.dataset.column);
        } else if (event.key === "Escape") hideTip();
      });
    }
    for (const button of all(".pairs button", view)) {
      button.addEventListener("click", () => {
        choose(button.dataset.row, button.dataset.column);
        picked.scrollIntoView({ block: "nearest" });
      });
    }
  }

  // --- learning curves: values of an epoch ---
  const columns = { loss: ["val_loss", "loss"], map3: ["val_map3"], accuracy: ["val_accuracy"] };
  const titles = { val_loss: "held out", loss: "training", val_map3: "held out", val_accuracy: "held out", learning_rate: "rate" };
  for (const figure of all(".curves")) {
    const charts = all(".chart", figure);
    const epochs = Number(figure.dataset.epochs);
    const folds = data.curves[figure.dataset.stage];
    const names = [...columns[figure.dataset.metric], "learning_rate"];
    const readout = figure.querySelector(".readout");
    const cursors = charts.map((chart) => {
      const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
      for (const [name, value] of Object.entries({ class: "cursor", y1: 0, y2: chart.getAttribute("height"), visibility: "hidden" })) line.setAttribute(name, value);
      chart.append(line);
      return line;
    });
    let epoch = 0;
    const write = (value, name) => (value === null || value === undefined ? "–" : name === "learning_rate" ? value.toExponential(1) : value.toFixed(3));
    const show = (number) => {
      epoch = Math.max(1, Math.min(epochs, number));
      for (const line of cursors) {
        const x = `${epochs > 1 ? (100 * (epoch - 1)) / (epochs - 1) : 50}%`;
        for (const name of ["x1", "x2"]) line.setAttribute(name, x);
        line.setAttribute("visibility", "visible");
      }
      const table = make("table");
      const head = make("tr");
      head.append(make("th", `epoch ${epoch}`), ...names.map((name) => make("th", titles[name])));
      table.append(head);
      for (const [number_, values] of Object.entries(folds)) {
        const row = make("tr");
        row.append(make("th", `fold ${number_}`), ...names.map((name) => make("td", write(values[name][epoch - 1], name))));
        table.append(row);
      }
      readout.replaceChildren(table);
    };
    const hide = () => {
      for (const line of cursors) line.setAttribute("visibility", "hidden");
    };
    figure.addEventListener("pointermove", (event) => {
      const box = charts[0].getBoundingClientRect();
      if (event.target.closest(".plot")) show(1 + Math.round(((event.clientX - box.left) / box.width) * (epochs - 1)));
    });
    figure.addEventListener("pointerleave", hide);
    figure.addEventListener("blur", hide);
    figure.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1, Home: -epochs, End: epochs }[event.key];
      if (move === undefined) return;
      event.preventDefault();
      show(epoch + move);
    });
  }
})();
