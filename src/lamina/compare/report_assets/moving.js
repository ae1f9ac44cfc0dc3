"use strict";
// Two clouds of points on their way, side by side under one slider.

const SVG = "http://www.w3.org/2000/svg";
const flat = DATA.moving, slide = document.getElementById("slide"), play = document.getElementById("play");
const clouds = ["diffusion", "genetic"].map((name) => {
  const svg = document.getElementById(`plane-${name}`);
  const add = (kind, attributes) => {
    const element = document.createElementNS(SVG, kind);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return svg.appendChild(element);
  };
  for (const [x, y] of flat.centres) add("circle", {class: "ring", cx: x, cy: -y, r: 2.5 * flat.width});
  const dots = flat[name][0].map(() => add("path", {class: "dot"}));
  return {name, frames: flat[name], dots, at: document.getElementById(`plane-${name}-at`)};
});
slide.max = String(flat.diffusion.length - 1);

/* A dot, or a cross where the candidate is of the worse half. */
const shape = ([x, y], cross) => cross
  ? `M${x - 0.06} ${-y - 0.06}l.12 .12m0 -.12l-.12 .12`
  : `M${x - 0.05} ${-y}a.05 .05 0 1 0 .1 0a.05 .05 0 1 0 -.1 0`;

function show() {
  const k = Number(slide.value), last = Number(slide.max);
  for (const cloud of clouds) {
    const worse = new Set(cloud.name === "genetic" ? flat.worse[k] : []);
    cloud.frames[k].forEach((point, i) => {
      cloud.dots[i].setAttribute("d", shape(point, worse.has(i)));
      cloud.dots[i].classList.toggle("worse", worse.has(i));
    });
    cloud.at.textContent = cloud.name === "genetic" ? `Generation ${k} of ${last}.` : `${Math.round(100 * k / last)} % of the steps.`;
  }
}

let timer = 0;
function stop() {
  clearInterval(timer);
  timer = 0;
  play.textContent = "Play";
}
play.addEventListener("click", () => {
  if (timer) return stop();
  if (slide.value === slide.max) slide.value = "0";
  play.textContent = "Pause";
  timer = setInterval(() => {
    slide.value = String(Number(slide.value) + 1);
    show();
    if (slide.value === slide.max) stop();
  }, 200);
});
slide.addEventListener("input", () => { stop(); show(); });
show();
