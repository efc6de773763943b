// Where the tiles go: as large as the stage allows. What is in front (shared screens, a pinned
// person) gets the most; the others are in a strip beside or below it.

import { $ } from "./dom.js";

const GAP = 8; // px, as in the style sheet
const NARROWEST = { upright: 9 / 16, across: 4 / 3 }; // to which the picture of a person may be cut
const WIDEST = 16 / 9;
const MOST_BESIDE_OWN = 3; // others, beside whom our own picture is small and in a corner

export function layOut() {
  const stage = $("stage"), front = $("screens"), people = $("people-tiles");
  const { paddingLeft, paddingRight } = getComputedStyle(stage);
  const width = stage.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight);
  const height = stage.clientHeight;
  if (width <= 0 || height <= 0) return; // hidden
  const inFront = front.children.length;
  const others = people.querySelectorAll(".tile:not(.own)").length;
  front.hidden = !inFront;
  const floats = !inFront && others >= 1 && others <= MOST_BESIDE_OWN;
  people.classList.toggle("floats", floats);
  let room = [width, height];
  if (inFront) {
    const ratio = ratioOf(front.querySelector("video"));
    const beside = Math.min(Math.max(width * 0.2, 96), 260), below = Math.min(Math.max(height * 0.2, 72), 180);
    const choices = [
      { split: "beside", strip: beside, front: [width - beside - GAP, height], people: [beside, height] },
      { split: "below", strip: below, front: [width, height - below - GAP], people: [width, below] },
    ].map((each) => ({ ...each, fit: fit(inFront, ...each.front, ratio, ratio) }));
    const best = choices[0].fit.area >= choices[1].fit.area ? choices[0] : choices[1];
    stage.dataset.split = best.split;
    stage.style.setProperty("--strip", `${Math.floor(best.strip)}px`);
    size(front, best.fit);
    room = best.people;
  } else delete stage.dataset.split;
  const narrowest = room[1] > room[0] ? NARROWEST.upright : NARROWEST.across;
  const number = people.children.length - (floats ? 1 : 0);
  if (!number) return;
  const grid = fit(number, ...room, narrowest, WIDEST);
  size(people, grid);
  // Our own small picture: in the corner of the last tile, or of the stage where the row is short.
  const full = number % grid.columns === 0 ? grid.columns * (grid.wide + GAP) - GAP : width;
  stage.style.setProperty("--edge", `${Math.floor((width - full) / 2)}px`);
}

/** The number of columns that makes `number` tiles largest, and their size. */
function fit(number, width, height, narrowest, widest) {
  let best = { area: 0, columns: 1, wide: 0, high: 0 };
  for (let columns = 1; columns <= number; columns++) {
    const rows = Math.ceil(number / columns);
    const cell = [(width - GAP * (columns - 1)) / columns, (height - GAP * (rows - 1)) / rows];
    if (cell[0] <= 0 || cell[1] <= 0) continue;
    const ratio = Math.min(Math.max(cell[0] / cell[1], narrowest), widest);
    const wide = Math.min(cell[0], cell[1] * ratio);
    if (wide ** 2 / ratio > best.area) best = { area: wide ** 2 / ratio, columns, wide, high: wide / ratio };
  }
  return best;
}

function size(list, { wide, high }) {
  list.style.setProperty("--wide", `${Math.floor(wide)}px`);
  list.style.setProperty("--high", `${Math.floor(high)}px`);
}

/** A shared screen keeps its shape, so that it has no dark bars. */
function ratioOf(video) {
  return video.videoWidth ? video.videoWidth / video.videoHeight : WIDEST;
}
