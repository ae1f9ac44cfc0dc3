"use strict";
// Where labels stand: beside their dots or at their lines' ends, without covering one another. All in pixels.

const FONT = 13, LINE = FONT + 3;

const textWidth = (() => {
  const pen = document.createElement("canvas").getContext("2d");
  return (text) => {
    pen.font = `${FONT}px ${getComputedStyle(document.body).fontFamily}`;
    return Math.max(...String(text).split("\n").map((line) => pen.measureText(line).width));
  };
})();

const overlap = (a, b) =>
  Math.max(0, Math.min(a.x1, b.x1) - Math.max(a.x0, b.x0)) * Math.max(0, Math.min(a.y1, b.y1) - Math.max(a.y0, b.y0));

/* Labels for dots. dots: [{x, y, r, name, up, down, left, right}] in pixels (the last four: how far the intervals
   reach). Gives [{dx, dy, anchor, leader}] in the same order: the label's middle relative to the dot. */
function placeLabels(dots, width, height) {
  const taken = [];
  for (const d of dots) {
    taken.push({x0: d.x - d.r, x1: d.x + d.r, y0: d.y - d.r, y1: d.y + d.r, weight: 6});
    taken.push({x0: d.x - 2, x1: d.x + 2, y0: d.y - d.up, y1: d.y + d.down, weight: 4});
    taken.push({x0: d.x - d.left, x1: d.x + d.right, y0: d.y - 2, y1: d.y + 2, weight: 4});
  }
  const result = new Array(dots.length);
  const byRoom = dots.map((d, i) => i).sort((a, b) => dots[b].y - dots[a].y);
  for (const i of byRoom) {
    const d = dots[i], w = textWidth(d.name) + 4, h = FONT + 4;
    let best = null;
    for (const far of [4, 16, 30, 46, 64]) {
      for (const [sx, sy] of [[1, 0], [-1, 0], [0, -1], [0, 1], [1, -1], [-1, -1], [1, 1], [-1, 1]]) {
        const reach = d.r + far;
        const cx = d.x + (sx === 0 ? 0 : sx * ((sy === 0 ? reach : reach * 0.7) + w / 2));
        const cy = d.y + (sy === 0 ? 0 : sy * ((sx === 0 ? reach : reach * 0.7) + h / 2));
        const box = {x0: cx - w / 2, x1: cx + w / 2, y0: cy - h / 2, y1: cy + h / 2};
        let cost = far * 3 + (sx === 1 && sy === 0 ? 0 : 2) + (sx && sy ? 3 : 0);
        for (const t of taken) cost += overlap(box, t) * t.weight;
        const out = Math.max(0, -box.x0) + Math.max(0, box.x1 - width) + Math.max(0, -box.y0) + Math.max(0, box.y1 - height);
        cost += out * 200;
        if (!best || cost < best.cost) best = {cost, box, cx, cy, far};
      }
    }
    taken.push({...best.box, weight: 8});
    result[i] = {dx: best.cx - d.x, dy: best.cy - d.y, leader: best.far > 4};
  }
  return result;
}

/* Labels at the ends of lines, as near to them as they can stand without touching. ends: the lines' last y in pixels;
   gives the labels' y in the same order. Labels that touch move as one block, whose middle is the mean of its ends. */
function spreadEnds(ends, height) {
  const order = ends.map((y, i) => i).sort((a, b) => ends[a] - ends[b]);
  const gap = Math.min(LINE, height / Math.max(1, ends.length));
  const place = (block) => {
    const half = block.size * gap / 2;
    block.middle = Math.min(Math.max(block.sum / block.size, half), height - half);
    return block;
  };
  const blocks = [];
  for (const i of order) {
    blocks.push(place({sum: ends[i], size: 1}));
    while (blocks.length > 1) {
      const [upper, lower] = blocks.slice(-2);
      if (upper.middle + upper.size * gap / 2 <= lower.middle - lower.size * gap / 2) break;
      blocks.splice(-2, 2, place({sum: upper.sum + lower.sum, size: upper.size + lower.size}));
    }
  }
  const result = new Array(ends.length);
  let next = 0;
  for (const block of blocks) {
    for (let k = 0; k < block.size; k++) result[order[next++]] = block.middle + (k + 0.5 - block.size / 2) * gap;
  }
  return result;
}
