// Converts numbers in [0, 1] to the bytes of a picture.

/** Writes the image at `place` of `images`, N x C x H x W, into RGBA bytes of rows `width` pixels long. */
export function putImage(rgba, width, left, top, images, place, [channels, high, wide]) {
  const size = high * wide;
  for (let pixel = 0; pixel < size; pixel += 1) {
    const target = 4 * ((top + Math.floor(pixel / wide)) * width + left + (pixel % wide));
    for (let color = 0; color < 3; color += 1) {
      const value = images[(place * channels + Math.min(color, channels - 1)) * size + pixel];
      rgba[target + color] = Math.round(255 * Math.min(1, Math.max(0, value)));
    }
    rgba[target + 3] = 255;
  }
}

/** Arranges images in rows on white with `gap` pixels between them: { width, height, rgba }. */
export function toSheet(images, shape, columns, gap = 2) {
  const [channels, high, wide] = shape;
  const count = images.length / (channels * high * wide);
  const across = Math.min(columns, count);
  const width = across * (wide + gap) - gap;
  const height = Math.ceil(count / across) * (high + gap) - gap;
  const rgba = new Uint8ClampedArray(4 * width * height).fill(255);
  for (let place = 0; place < count; place += 1) {
    const [left, top] = [(place % across) * (wide + gap), Math.floor(place / across) * (high + gap)];
    putImage(rgba, width, left, top, images, place, shape);
  }
  return { width, height, rgba };
}
