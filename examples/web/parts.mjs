// Helpers of the page.
import { putImage } from "./pixels.mjs";

export const find = (id) => document.getElementById(id);

/** Makes an element with properties and children. */
export function make(tag, properties = {}, ...inside) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...inside);
  return element;
}

/** Shows the image at `place` of `images` in a canvas. */
export function paint(canvas, images, place, shape) {
  const [, high, wide] = shape;
  Object.assign(canvas, { width: wide, height: high });
  const data = new ImageData(wide, high);
  putImage(data.data, wide, 0, 0, images, place, shape);
  canvas.getContext("2d").putImageData(data, 0, 0);
}

/** Generates images from noise vectors and labels, and paints them onto the canvases. */
export async function show(generator, canvases, noises, labels) {
  const flat = new Float32Array(noises.length * generator.length);
  noises.forEach((noise, place) => flat.set(noise, place * generator.length));
  const images = await generator.generate(flat, generator.labelled ? labels : null);
  canvases.forEach((canvas, place) => paint(canvas, images, place, generator.shape));
}

/**
 * Runs `work` for the newest wish alone: while one is under way, later wishes replace each other, so that a slider
 * never builds up a queue.
 */
export function newest(work) {
  let [busy, waiting] = [false, false];
  return async function wish() {
    waiting = true;
    if (busy) return;
    busy = true;
    try {
      while (waiting) {
        waiting = false;
        await work();
      }
    } finally {
      busy = false;
    }
  };
}

/**
 * The generator with one request at a time: ONNX Runtime in a browser takes no two at once. While any is under way,
 * the page's main part says that it is busy.
 */
export function inTurn(generator) {
  let [last, underWay] = [Promise.resolve(), 0];
  const count = (by) => {
    underWay += by;
    find("main").setAttribute("aria-busy", underWay > 0);
  };
  const generate = (noise, labels) => {
    count(1);
    const result = last.then(() => generator.generate(noise, labels)).finally(() => count(-1));
    last = result.catch(() => {});
    return result;
  };
  const { length, shape, names, labelled, model } = generator;
  return { length, shape, names, labelled, model, generate, sampleNoise: (seed) => generator.sampleNoise(seed) };
}
