// Generates images with a bundle and checks every input; for Node and browsers.
import { Random } from "./random.mjs";

export const FORMATS = [1, 2]; // of contract.json; they differ in a key that this program does not read
export const LARGEST = 4096; // images per call, which bounds the memory
const CHUNK = 64; // images per run of the network

/** An error in a bundle or in a request; the message is one sentence. */
export class BundleError extends Error {}

/**
 * Loads a generator. `ort` is onnxruntime-node or onnxruntime-web; `read(name)` resolves to a file's bytes, or to null
 * if it is missing; `sha256(bytes)` resolves to hexadecimal digits, or is null where the
 * browser cannot hash: then no hash is checked.
 * Throws BundleError if the folder is no bundle, for a damaged file and for a contract of an unknown format.
 */
export async function load(ort, read, sha256) {
  const [text, list] = [await read("contract.json"), await read("SHA256SUMS")];
  if (!text || !list) throw new BundleError(`this is no bundle: ${text ? "SHA256SUMS" : "contract.json"} is not there`);
  const { file, contract } = readContract(text);
  const bytes = await read(file);
  if (!bytes) throw new BundleError(`${file} is missing; get the bundle again`);
  const lines = new TextDecoder().decode(list).split("\n");
  for (const [name, content] of sha256 ? [["contract.json", text], [file, bytes]] : []) {
    if (!lines.includes(`${await sha256(content)}  ${name}`)) {
      throw new BundleError(`${name} was changed since it was bundled; get the bundle again`);
    }
  }
  try {
    return new Generator(ort, await ort.InferenceSession.create(bytes), contract);
  } catch (error) {
    throw new BundleError(`${file} cannot be loaded (${error.message ?? error}); get the bundle again`);
  }
}

function readContract(bytes) {
  let whole;
  try {
    whole = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw new BundleError("contract.json cannot be read; get the bundle again");
  }
  if (!FORMATS.includes(whole?.format)) {
    throw new BundleError(`the bundle has a contract of format ${whole?.format}, and this program reads formats ${FORMATS.join(" and ")}`);
  }
  const file = `${whole.model}.onnx`;
  const contract = whole.models?.[file];
  if (!contract) throw new BundleError(`contract.json names no ${file}; get the bundle again`);
  return { file, contract };
}

/** Turns noise, and labels for a conditional model, into images. */
export class Generator {
  #ort;
  #session;

  constructor(ort, session, contract) {
    this.#ort = ort;
    this.#session = session;
    this.contract = contract;
    this.model = contract.model.toUpperCase();
    this.length = contract.inputs[0].shape[1]; // length of a noise vector
    this.shape = contract.outputs[0].shape.slice(1); // channels, height, width
    this.names = contract.labels;
    this.labelled = contract.inputs.length > 1; // whether the model is conditional on a label
  }

  /** Returns the noise and the label of one seed; the label is null for an unconditional model. */
  sampleNoise(seed) {
    if (!Number.isSafeInteger(seed) || seed < 0) throw new BundleError(`a seed is a whole number from 0 on, and ${seed} is not`);
    const random = new Random(seed);
    const noise = random.fillNormal(new Float32Array(this.length));
    return { noise, label: this.labelled ? random.below(this.names.length) : null };
  }

  /** Returns the number of a label given by name or number. */
  label(asked) {
    if (!this.labelled) throw new BundleError(`this ${this.model} takes no label; omit the label`);
    const number = this.names.includes(asked) ? this.names.indexOf(asked) : Number(asked);
    if (String(asked).trim() !== "" && Number.isInteger(number) && number >= 0 && number < this.names.length) return number;
    const known = this.names.map((name, place) => `${place} ${name}`).join(", ");
    throw new BundleError(`there is no label ${JSON.stringify(asked)}; this model knows ${known}`);
  }

  /**
   * Returns images, a Float32Array of N x C x H x W numbers in [0, 1], for noise, a Float32Array of N x length numbers,
   * and an array of N labels. Throws BundleError for invalid input.
   */
  async generate(noise, labels = null) {
    const count = this.#check(noise, labels);
    const size = this.shape.reduce((product, side) => product * side);
    const images = new Float32Array(count * size);
    for (let start = 0; start < count; start += CHUNK) {
      const end = Math.min(count, start + CHUNK);
      const part = noise.slice(start * this.length, end * this.length); // a copy, since a worker would take the whole buffer
      images.set(await this.#run(part, labels?.slice(start, end), end - start), start * size);
    }
    return images;
  }

  async #run(noise, labels, count) {
    const [first, second] = this.contract.inputs;
    const feeds = { [first.name]: new this.#ort.Tensor("float32", noise, [count, this.length]) };
    if (labels) feeds[second.name] = new this.#ort.Tensor("int64", BigInt64Array.from(labels, BigInt), [count]);
    const results = await this.#session.run(feeds);
    return results[this.contract.outputs[0].name].data;
  }

  #check(noise, labels) {
    if (!(noise instanceof Float32Array)) throw new BundleError("noise must be a Float32Array");
    const count = noise.length / this.length;
    if (!Number.isInteger(count)) {
      throw new BundleError(`noise must hold ${this.length} numbers for each image, and ${noise.length} is no multiple of that`);
    }
    if (count < 1 || count > LARGEST) throw new BundleError(outOfBounds(count));
    if (!noise.every(Number.isFinite)) {
      throw new BundleError("noise must hold finite numbers alone, and there is a NaN or an infinity in it");
    }
    this.#checkLabels(labels, count);
    return count;
  }

  #checkLabels(labels, count) {
    if (!labels) {
      if (this.labelled) throw new BundleError(`this ${this.model} needs a label for every image`);
      return;
    }
    if (!this.labelled) throw new BundleError(`this ${this.model} takes no label; omit the label`);
    if (labels.length !== count) throw new BundleError(`${count} images need as many labels, and there are ${labels.length}`);
    const last = this.names.length - 1;
    if (!labels.every((label) => Number.isInteger(label) && label >= 0 && label <= last)) {
      throw new BundleError(`labels must be whole numbers from 0 to ${last}, and one is not`);
    }
  }
}

/** Says that `count` images are too few or too many. */
export function outOfBounds(count) {
  const [asked, most] = [count, LARGEST].map((number) => number.toLocaleString("en"));
  return `${asked} images at once were asked for; ask for 1 to ${most}`;
}
