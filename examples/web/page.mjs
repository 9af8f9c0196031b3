// The page: samples, an interpolation between two of them, and directions to edit one along.
import { findDirections } from "./directions.mjs";
import { BundleError } from "./generator.mjs";
import { loadGenerator } from "./model.mjs";
import { find, inTurn, make, newest, show } from "./parts.mjs";
import { coordinate, moveTo, slerp } from "./walk.mjs";

const [SAMPLES, FRAMES, DIRECTIONS, FAR] = [24, 9, 6, 3]; // FAR: standard deviations
const WALK = 4000; // milliseconds from one end to the other

const generator = await loadGenerator().then(inTurn).catch(fail);
const state = { seed: 0, samples: [], from: null, to: null, found: [] };

/** Shows the error in a sentence; unexpected errors go to the console too. */
function fail(error) {
  if (!(error instanceof BundleError)) console.error(error);
  find("fault").textContent = error.message;
  find("fault").hidden = false;
  find("main").hidden = true;
  find("about").textContent = "No images can be generated.";
  document.documentElement.dataset.state = "failed";
}

async function start() {
  const [channels, high, wide] = generator.shape;
  document.title = find("title").textContent = `Images of this ${generator.model}`;
  find("about").textContent =
    `${wide} × ${high} pixels, ${channels === 1 ? "grey" : "colour"}, each from ${generator.length} random numbers` +
    `${generator.labelled ? " and a label" : ""}. Drawn in this browser; nothing is sent anywhere.`;
  find("main").hidden = false;
  fillLabels();
  fillGrids();
  await drawSamples();
  state.from = state.samples[0];
  await choose(state.samples[1]);
  listen();
  await prepareDirections();
  document.documentElement.dataset.state = "ready";
}

function fillLabels() {
  find("labels").hidden = !generator.labelled;
  if (!generator.labelled) return;
  find("label").append(...generator.names.map((name, value) => make("option", { value, textContent: name })));
}

function fillGrids() {
  const sample = () => make("button", { type: "button", className: "sample" }, make("canvas"));
  find("samples").append(...Array.from({ length: SAMPLES }, sample));
  find("strip").append(...Array.from({ length: FRAMES }, () => make("canvas")));
}

function listen() {
  const again = newest(drawSamples);
  find("seed").addEventListener("change", () => readSeed() && again());
  find("label").addEventListener("change", again);
  find("more").addEventListener("click", () => {
    find("seed").value = (state.seed + SAMPLES) % 2 ** 32;
    if (readSeed()) again();
  });
  [...find("samples").children].forEach((button, place) =>
    button.addEventListener("click", () => choose(state.samples[place])),
  );
  find("share").addEventListener("input", paintStep);
  find("play").addEventListener("click", play);
  find("reset").addEventListener("click", resetSliders);
}

/** Reads the seed from its field, or shows why it is invalid. */
function readSeed() {
  const text = find("seed").value;
  const right = /^\d+$/.test(text) && Number(text) < 2 ** 32;
  find("hint").textContent = right ? "" : "A seed is a whole number from 0 to 4,294,967,295.";
  if (right) state.seed = Number(text);
  return right;
}

async function drawSamples() {
  const asked = find("label").value;
  state.samples = Array.from({ length: SAMPLES }, (_, place) => {
    const seed = state.seed + place;
    const { noise, label } = generator.sampleNoise(seed);
    return { seed, noise, label: generator.labelled && asked !== "any" ? Number(asked) : label };
  });
  const buttons = [...find("samples").children];
  const canvases = buttons.map((button) => button.firstChild);
  await show(generator, canvases, state.samples.map(({ noise }) => noise), state.samples.map(({ label }) => label));
  buttons.forEach((button, place) => button.setAttribute("aria-label", name(state.samples[place])));
  mark();
}

function name({ seed, label }) {
  return `seed ${seed}${label === null ? "" : `, ${generator.names[label]}`}`;
}

/** Selects a sample: the walk leads to it from the one selected before, and the directions edit it. */
async function choose(sample) {
  if (state.to && sample !== state.to) state.from = state.to;
  state.to = sample;
  mark();
  await Promise.all([paintWalk(), state.found.length ? resetSliders() : undefined]);
}

function mark() {
  [...find("samples").children].forEach((button, place) => {
    const sample = state.samples[place];
    button.dataset.role = sample === state.to ? "to" : sample === state.from ? "from" : "";
    button.setAttribute("aria-pressed", sample === state.to);
  });
  if (state.from && state.to) find("ends").textContent = `From ${name(state.from)}, to ${name(state.to)}.`;
}

const paintWalk = newest(async () => {
  const shares = Array.from({ length: FRAMES }, (_, place) => place / (FRAMES - 1));
  await paintAt([...find("strip").children, find("step")], [...shares, Number(find("share").value) / 100]);
});
const paintStep = newest(() => paintAt([find("step")], [Number(find("share").value) / 100]));

function paintAt(canvases, shares) {
  const { from, to } = state;
  const noises = shares.map((share) => slerp(from.noise, to.noise, share));
  return show(generator, canvases, noises, shares.map((share) => (share < 0.5 ? from : to).label));
}

/** Plays the walk back and forth until the button is pressed again. */
function play() {
  const playing = find("play").getAttribute("aria-pressed") !== "true";
  find("play").setAttribute("aria-pressed", playing);
  find("play").textContent = playing ? "Pause" : "Play";
  if (!playing) return;
  const begun = performance.now() - (Number(find("share").value) / 100) * WALK;
  const step = async (now) => {
    if (find("play").getAttribute("aria-pressed") !== "true") return;
    const turn = (Math.max(0, now - begun) / WALK) % 2;
    find("share").value = 100 * (turn < 1 ? turn : 2 - turn);
    await paintStep();
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
}

async function prepareDirections() {
  state.found = await findDirections(generator, DIRECTIONS, (share) => {
    find("progress").value = share;
  });
  find("searching").hidden = true;
  find("editor").hidden = false;
  find("sliders").append(...state.found.map(makeSlider));
  await resetSliders();
}

function makeSlider({ share }, which) {
  const percent = `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
  const label = `direction ${which + 1}`;
  const slider = make("input", { type: "range", min: -4, max: 4, step: 0.05, ariaLabel: label });
  slider.addEventListener("input", paintEdited);
  const title = make("span", { className: "name" }, `${which + 1}`, make("small", { textContent: percent }));
  return make("li", {}, title, make("canvas"), slider, make("canvas"));
}

const sliders = () => [...find("sliders").querySelectorAll("input")];
const directions = () => state.found.map(({ direction }) => direction);

/** Sets the sliders to the selected sample, and shows both ends of each direction beside them. */
async function resetSliders() {
  const { noise, label } = state.to;
  sliders().forEach((slider, which) => (slider.value = coordinate(noise, directions()[which])));
  const ends = directions().flatMap((direction) => [-FAR, FAR].map((far) => moveTo(noise, [direction], [far])));
  const canvases = [...find("sliders").querySelectorAll("canvas")];
  await Promise.all([show(generator, canvases, ends, ends.map(() => label)), paintEdited()]);
}

const paintEdited = newest(() => {
  const { noise, label } = state.to;
  const edited = moveTo(noise, directions(), sliders().map((slider) => Number(slider.value)));
  return show(generator, [find("edited")], [edited], [label]);
});

addEventListener("unhandledrejection", (event) => fail(event.reason));
if (generator) await start().catch(fail); // last, when everything above is defined
