"use strict";
(() => {
  const SCALES = ["relevance", "quality"];
  const main = document.querySelector("main");
  const test = main.dataset.test;
  const find = (id) => document.getElementById(id);
  const sections = new Map([...document.querySelectorAll("section.trial")].map((node) => [node.dataset.trial, node]));
  const players = [...document.querySelectorAll("audio")];
  let state = null;

  // Answers live in this browser only. Where it keeps nothing, the listener is told.
  const stored = {
    read(key) {
      try { return localStorage.getItem(key); } catch { return null; }
    },
    write(key, value) {
      try { localStorage.setItem(key, value); } catch { find("forgets").hidden = false; }
    },
  };
  const place = (listener) => `audioxai-listening/${test}/${listener}`;
  const latest = `audioxai-listening/${test}`;
  const keep = () => stored.write(place(state.listener), JSON.stringify(state));

  // Orders follow from the test and the listener alone: FNV-1a of both seeds Marsaglia's xorshift, Fisher-Yates shuffles.
  const generator = (text) => {
    let x = 2166136261;
    for (const byte of new TextEncoder().encode(text)) x = Math.imul(x ^ byte, 16777619);
    x = x || 1;
    const next = () => {
      x ^= x << 13;
      x ^= x >>> 17;
      x ^= x << 5;
      return x >>> 0;
    };
    for (let i = 0; i < 16; i++) next();
    return next;
  };
  const shuffled = (items, next) => {
    const order = [...items];
    for (let i = order.length - 1; i > 0; i--) {
      const j = next() % (i + 1);
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  };
  const stimuli = (section) => [...section.querySelectorAll(".stimulus")];
  const ids = (section) => stimuli(section).map((node) => node.dataset.stimulus).sort();

  const fresh = (listener) => {
    const next = generator(`${test}/${listener}`);
    const session = [...crypto.getRandomValues(new Uint8Array(12))].map((b) => b.toString(16).padStart(2, "0")).join("");
    const trials = shuffled([...sections.keys()].sort(), next).map((trial) => (
      { trial, order: shuffled(ids(sections.get(trial)), next), ratings: {} }
    ));
    return { format: main.dataset.format, test, listener, session, started: new Date().toISOString(), at: 0, trials };
  };
  const resumed = (listener) => {
    try {
      const found = JSON.parse(stored.read(place(listener)));
      const fits = found.test === test && found.listener === listener && found.trials.length === sections.size &&
        found.trials.every((entry) => sections.has(entry.trial) &&
          [...entry.order].sort().join() === ids(sections.get(entry.trial)).join() && typeof entry.ratings === "object");
      return fits ? found : null;
    } catch {
      return null;
    }
  };

  // --- sounds: one at a time; a change of sound goes on where the other was -------------------------------------------
  const sounding = () => players.find((player) => !player.paused && !player.ended);
  const stop = () => players.forEach((player) => player.pause());
  const button = (player) => player.parentElement.querySelector("button.play");
  const toggle = (player) => {
    const before = sounding();
    stop();
    if (before === player) return;
    player.currentTime = before ? before.currentTime : 0;
    player.play().then(() => heard(player), (error) => {
      if (error.name !== "AbortError") say(`This browser could not play the sound (${error.name}).`);
    });
  };
  const heard = (player) => {
    const node = player.closest(".stimulus");
    if (!node || !state) return;
    const rating = ratingOf(node);
    rating.plays = (rating.plays ?? 0) + 1;
    button(player).classList.add("heard");
    keep();
  };
  players.forEach((player) => {
    const pressed = (value) => button(player).setAttribute("aria-pressed", value);
    button(player).addEventListener("click", () => toggle(player));
    player.addEventListener("playing", () => pressed(true));
    ["pause", "ended"].forEach((name) => player.addEventListener(name, () => pressed(false)));
    player.addEventListener("error", () => say("This browser cannot read a sound of this page."));
    player.addEventListener("timeupdate", () => {
      const section = player.closest("section");
      section.querySelector("progress").value = player.duration ? player.currentTime / player.duration : 0;
      section.querySelector(".time").textContent = `${player.currentTime.toFixed(1)} s`;
    });
  });

  // --- ratings ---------------------------------------------------------------------------------------------------------
  const entry = () => state.trials[state.at];
  const ratingOf = (node) => {
    const { trial } = node.closest("section").dataset;
    return (state.trials.find((each) => each.trial === trial).ratings[node.dataset.stimulus] ??= {});
  };
  const slider = (node, scale) => node.querySelector(`[data-scale="${scale}"]`);
  const paint = (input, value) => {
    const unset = value === undefined;
    input.toggleAttribute("data-unset", unset);
    input.value = unset ? 50 : value;
    input.setAttribute("aria-valuetext", unset ? "not rated" : `${value} of 100`);
    input.closest(".scale").querySelector("output").value = unset ? "–" : value;
  };
  const rate = (input) => {
    const value = Number(input.value);
    ratingOf(input.closest(".stimulus"))[input.dataset.scale] = value;
    paint(input, value);
    say("");
    keep();
  };
  document.querySelectorAll(".scale input").forEach((input) => {
    // A click or a key rates even where it leaves the value as it was.
    ["input", "click"].forEach((name) => input.addEventListener(name, () => rate(input)));
    input.addEventListener("keyup", (event) => {
      if (/^(Arrow|Home|End|Page)/.test(event.key)) rate(input);
    });
  });
  const lacks = (rating) => [
    ...(rating?.plays ? [] : ["play"]),
    ...SCALES.filter((scale) => rating?.[scale] === undefined),
  ];
  const complete = () => state.trials.every((each) => each.order.every((id) => lacks(each.ratings[id]).length === 0));

  // --- screens ---------------------------------------------------------------------------------------------------------
  const say = (text) => { find("message").textContent = text; };
  const letter = (index) => String.fromCharCode(65 + index);
  const screen = (node) => {
    stop();
    say("");
    [find("start"), find("end"), ...sections.values()].forEach((each) => { each.hidden = each !== node; });
    find("bar").hidden = state === null;
    find("moves").hidden = !sections.has(node.dataset.trial);
    const heading = node.querySelector("h2");
    heading?.focus({ preventScroll: true });
    scrollTo(0, 0);
  };
  const show = (at) => {
    state.at = at;
    keep();
    if (at >= state.trials.length) {
      screen(find("end"));
      return;
    }
    const section = sections.get(entry().trial);
    section.querySelector(".number").textContent = at + 1;
    entry().order.forEach((id, index) => {
      const node = stimuli(section).find((each) => each.dataset.stimulus === id);
      node.parentElement.append(node);
      const rating = entry().ratings[id];
      const play = node.querySelector(".play");
      play.querySelector(".letter").textContent = letter(index);
      play.setAttribute("aria-label", `Play sound ${letter(index)}`);
      play.classList.toggle("heard", Boolean(rating?.plays));
      SCALES.forEach((scale) => {
        slider(node, scale).setAttribute("aria-label", `${scale} of sound ${letter(index)}`);
        paint(slider(node, scale), rating?.[scale]);
      });
    });
    section.querySelectorAll("audio").forEach((player) => { player.preload = "auto"; });
    find("back").disabled = at === 0;
    find("next").textContent = at + 1 < state.trials.length ? "Next recording" : "Finish";
    screen(section);
  };
  const advance = () => {
    const section = sections.get(entry().trial);
    const open = entry().order.map((id, index) => ({ id, name: letter(index), lacks: lacks(entry().ratings[id]) }))
      .filter((each) => each.lacks.length > 0);
    if (open.length === 0) {
      show(state.at + 1);
      return;
    }
    say(`Still to do. ${open.map((each) => `${each.name}: ${each.lacks.join(", ")}`).join("; ")}.`);
    const node = stimuli(section).find((each) => each.dataset.stimulus === open[0].id);
    const first = open[0].lacks[0] === "play" ? node.querySelector(".play") : slider(node, open[0].lacks[0]);
    first.focus();
  };
  const begin = (listener) => {
    const before = stored.read(place(listener));
    state = resumed(listener) ?? fresh(listener);
    const lost = before && before !== JSON.stringify(state);
    stored.write(latest, listener);
    find("who").textContent = listener;
    show(state.at);
    if (lost) say("The answers that were kept under this id could not be read; this is a new beginning.");
  };

  // --- answers ---------------------------------------------------------------------------------------------------------
  const answers = () => {
    const { at, ...rest } = state;
    return JSON.stringify({ ...rest, exported: new Date().toISOString(), complete: complete() }, null, 1);
  };
  const download = () => {
    const text = answers();
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = `listening-${test.slice(0, 6)}-${state.listener.replace(/[^\p{L}\p{N}._-]+/gu, "_")}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    find("text").value = text;
    find("copy").hidden = false;
  };

  find("enter").addEventListener("submit", (event) => {
    event.preventDefault();
    const listener = find("listener").value.trim().replace(/\s+/g, " ");
    if (listener) begin(listener);
    else say("Enter your listener id first.");
  });
  find("next").addEventListener("click", advance);
  find("back").addEventListener("click", () => show(state.at - 1));
  find("again").addEventListener("click", () => show(state.trials.length - 1));
  document.querySelectorAll(".download").forEach((each) => each.addEventListener("click", download));
  find("change").addEventListener("click", () => {
    state = null;
    find("listener").value = "";
    find("copy").hidden = true;
    find("text").value = "";
    screen(find("start"));
    find("listener").focus();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || !state || state.at >= state.trials.length) return;
    if (event.target.matches("textarea, input[type=text]")) return;
    const section = sections.get(entry().trial);
    if (event.key === "0") toggle(section.querySelector(".reference audio"));
    else if (/^[1-9]$/.test(event.key)) {
      const node = stimuli(section)[Number(event.key) - 1];
      if (node) toggle(node.querySelector("audio"));
    } else if (event.key === " " && !event.target.matches("button, summary")) {
      stop();
      event.preventDefault();
    }
  });

  const before = stored.read(latest);
  find("loading").hidden = true;
  stored.write(`${latest}/`, "");  // shows the note now, if nothing can be kept
  if (before && resumed(before)) begin(before);
  else screen(find("start"));
})();
