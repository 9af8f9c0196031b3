// Seeded standard normal numbers: the same in every browser and in Node, but not those of NumPy.

/** Yields uniform whole numbers from 0 to 2^32 - 1: sfc32 of Chris Doty-Humphrey's PractRand. */
function* wholes(seed) {
  let [a, b, c, counter] = [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0, 0x9e3779b9, 1];
  for (let round = 0; ; round += 1) {
    const sum = (a + b + counter) >>> 0;
    counter = (counter + 1) >>> 0;
    a = (b ^ (b >>> 9)) >>> 0;
    b = (c + (c << 3)) >>> 0;
    c = (((c << 21) | (c >>> 11)) + sum) >>> 0;
    if (round >= 12) yield sum; // the first rounds still correlate with the seed
  }
}

/** A random number generator with a seed, a whole number from 0 to 2^53 - 1. */
export class Random {
  #wholes;
  constructor(seed) {
    this.#wholes = wholes(seed);
  }

  /** Returns a uniform number in (0, 1). */
  uniform() {
    return (this.#wholes.next().value + 0.5) / 2 ** 32;
  }

  /** Returns a uniform whole number below `end`. */
  below(end) {
    return Math.floor(this.uniform() * end);
  }

  /** Fills an array with standard normal numbers (Box and Muller 1958) and returns it. */
  fillNormal(array) {
    for (let place = 0; place < array.length; place += 2) {
      const radius = Math.sqrt(-2 * Math.log(this.uniform()));
      const angle = 2 * Math.PI * this.uniform();
      array[place] = radius * Math.cos(angle);
      if (place + 1 < array.length) array[place + 1] = radius * Math.sin(angle);
    }
    return array;
  }
}
