// The spectrogram of a clip: levels of one byte drawn with axes, the clip marked in its context, boxes on top.

const LEFT = 46, BOTTOM = 26, TOP = 8, RIGHT = 8;
const LIGHT = [[253, 252, 250], [214, 222, 214], [142, 170, 154], [66, 107, 88], [20, 44, 36]];
const DARK = [[20, 23, 26], [34, 52, 58], [52, 101, 96], [127, 184, 140], [240, 240, 205]];
const LEAST_S = 0.25, LEAST_HZ = 200;

const dark = matchMedia("(prefers-color-scheme: dark)");

function colours(contrast) {
  const stops = dark.matches ? DARK : LIGHT;
  const table = new Uint32Array(256);
  const floor = contrast / 100;
  for (let level = 0; level < 256; level += 1) {
    const at = Math.min(1, Math.max(0, (level / 255 - floor) / (1 - floor))) * (stops.length - 1);
    const first = Math.min(stops.length - 2, Math.floor(at)), part = at - first;
    const [red, green, blue] = stops[first].map((value, i) => value + part * (stops[first + 1][i] - value));
    table[level] = (255 << 24) | (Math.round(blue) << 16) | (Math.round(green) << 8) | Math.round(red);
  }
  return table;
}

/** Returns a picture of the levels, a pixel a frame and bin, drawn before it is asked for. */
export function painted(excerpt, contrast) {
  const { levels, bins, frames } = excerpt;
  const image = new ImageData(frames, bins);
  const pixels = new Uint32Array(image.data.buffer), table = colours(contrast);
  for (let bin = 0; bin < bins; bin += 1) {
    const from = bin * frames, to = (bins - 1 - bin) * frames;
    for (let frame = 0; frame < frames; frame += 1) pixels[to + frame] = table[levels[from + frame]];
  }
  const canvas = new OffscreenCanvas(frames, bins);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

function step(range, most) {
  return [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50].find((size) => range / size <= most) ?? 100;
}

export class Spectrogram {
  constructor(canvas, playhead) {
    this.canvas = canvas;
    this.playhead = playhead;
    this.contrast = 20;
    this.topHz = null;
    this.boxes = [];
    this.drawing = null;
    this.frames = [];
    new ResizeObserver(() => this.draw()).observe(canvas);
    dark.addEventListener("change", () => this.repaint());
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", () => this.#up());
  }

  show(excerpt, picture, clip) {
    this.excerpt = excerpt;
    this.picture = picture;
    this.clip = clip;
    this.boxes = [];
    this.frames = [];
    this.drawing = null;
    this.view = { from: excerpt.start, to: excerpt.end };
    this.draw();
  }

  clear() {
    this.excerpt = null;
    this.draw();
  }

  repaint() {
    if (!this.excerpt) return;
    this.picture = painted(this.excerpt, this.contrast);
    this.draw();
  }

  get highHz() {
    return Math.min(this.topHz ?? this.excerpt.highHz, this.excerpt.highHz);
  }

  get #plot() {
    const { clientWidth, clientHeight } = this.canvas;
    return { x: LEFT, y: TOP, width: Math.max(1, clientWidth - LEFT - RIGHT), height: Math.max(1, clientHeight - TOP - BOTTOM) };
  }

  x(seconds) {
    const { x, width } = this.#plot;
    return x + (width * (seconds - this.view.from)) / (this.view.to - this.view.from);
  }

  y(hz) {
    const { y, height } = this.#plot;
    return y + height * (1 - hz / this.highHz);
  }

  #at(event) {
    const { x, y, width, height } = this.#plot;
    const seconds = this.view.from + ((event.offsetX - x) / width) * (this.view.to - this.view.from);
    const hz = (1 - (event.offsetY - y) / height) * this.highHz;
    return {
      seconds: Math.min(this.excerpt.end, Math.max(this.excerpt.start, seconds)),
      hz: Math.min(this.excerpt.highHz, Math.max(0, hz)),
    };
  }

  draw() {
    const ratio = devicePixelRatio || 1, { clientWidth, clientHeight } = this.canvas;
    if (this.canvas.width !== Math.round(clientWidth * ratio)) this.canvas.width = Math.round(clientWidth * ratio);
    if (this.canvas.height !== Math.round(clientHeight * ratio)) this.canvas.height = Math.round(clientHeight * ratio);
    const paint = this.canvas.getContext("2d");
    paint.setTransform(ratio, 0, 0, ratio, 0, 0);
    paint.clearRect(0, 0, clientWidth, clientHeight);
    if (!this.excerpt) return;
    const { x, y, width, height } = this.#plot;
    const { start, end, frames, bins, highHz } = this.excerpt;
    const perSecond = frames / (end - start), rows = (bins * this.highHz) / highHz;
    paint.imageSmoothingQuality = "high";
    paint.drawImage(
      this.picture,
      (this.view.from - start) * perSecond, bins - rows, (this.view.to - this.view.from) * perSecond, rows,
      x, y, width, height,
    );
    this.#context(paint);
    this.#heard(paint);
    this.#axes(paint);
    for (const box of this.boxes) this.#box(paint, box, false);
    if (this.drawing) this.#box(paint, this.drawing, true);
  }

  #style(name) {
    return getComputedStyle(this.canvas).getPropertyValue(name).trim();
  }

  #context(paint) {
    const { x, y, width, height } = this.#plot;
    const from = Math.max(x, this.x(this.clip.start_s)), to = Math.min(x + width, this.x(this.clip.end_s));
    paint.globalAlpha = 0.55;
    paint.fillStyle = this.#style("--raised");
    if (from > x) paint.fillRect(x, y, from - x, height);
    if (to < x + width) paint.fillRect(to, y, x + width - to, height);
    paint.globalAlpha = 1;
    paint.fillStyle = this.#style("--accent");
    paint.fillRect(from, y + height, to - from, 2);
  }

  #heard(paint) {
    if (!this.frames.length) return;
    const { y, height } = this.#plot, tall = Math.min(42, height / 5);
    const from = this.clip.start_s, each = (this.clip.end_s - from) / this.frames.length;
    paint.globalAlpha = 0.8;
    paint.fillStyle = this.#style("--mark");
    this.frames.forEach((level, place) => {
      const left = this.x(from + place * each), right = this.x(from + (place + 1) * each);
      paint.fillRect(left, y + height - level * tall, right - left - 0.5, level * tall);
    });
    paint.globalAlpha = 1;
  }

  #axes(paint) {
    const { x, y, width, height } = this.#plot;
    paint.fillStyle = this.#style("--quiet");
    paint.font = "11px system-ui, sans-serif";
    paint.textAlign = "right";
    paint.textBaseline = "middle";
    const kHz = step(this.highHz / 1000, 6);
    for (let at = 0; at <= this.highHz / 1000 + 1e-6; at += kHz) {
      const place = Math.min(y + height - 5, Math.max(y + 5, this.y(at * 1000)));
      paint.fillText(`${+at.toFixed(2)}`, x - 8, place);
    }
    paint.save();
    paint.translate(11, y + height / 2);
    paint.rotate(-Math.PI / 2);
    paint.textAlign = "center";
    paint.fillText("kHz", 0, 0);
    paint.restore();
    paint.textAlign = "center";
    paint.textBaseline = "top";
    const seconds = step(this.view.to - this.view.from, 12);
    for (let n = Math.ceil(this.view.from / seconds); n * seconds <= this.view.to + 1e-6; n += 1) {
      paint.fillText(clock(n * seconds, seconds), Math.min(x + width - 14, Math.max(x + 10, this.x(n * seconds))), y + height + 8);
    }
  }

  #box(paint, box, isNew) {
    const left = this.x(box.start_s), right = this.x(box.end_s), top = this.y(box.high_hz), low = this.y(box.low_hz);
    paint.strokeStyle = this.#style("--mark");
    paint.lineWidth = 1.75;
    paint.setLineDash(isNew ? [5, 4] : []);
    paint.strokeRect(left, top, right - left, low - top);
    paint.setLineDash([]);
  }

  zoom(factor, around = (this.view.from + this.view.to) / 2) {
    if (!this.excerpt) return;
    const { start, end } = this.excerpt;
    const length = Math.min(end - start, Math.max(LEAST_S, (this.view.to - this.view.from) * factor));
    const part = (around - this.view.from) / (this.view.to - this.view.from);
    const from = Math.min(end - length, Math.max(start, around - part * length));
    this.view = { from, to: from + length };
    this.draw();
  }

  pan(part) {
    if (!this.excerpt) return;
    const length = this.view.to - this.view.from;
    const from = Math.min(this.excerpt.end - length, Math.max(this.excerpt.start, this.view.from + part * length));
    this.view = { from, to: from + length };
    this.draw();
  }

  movePlayhead(seconds) {
    const isThere = seconds !== null && this.excerpt && seconds >= this.view.from && seconds <= this.view.to;
    this.playhead.hidden = !isThere;
    if (isThere) this.playhead.style.transform = `translateX(${this.x(seconds)}px)`;
  }

  beginBox() {
    const { start_s, end_s } = this.clip, quarter = (end_s - start_s) / 4;
    this.drawing = {
      start_s: start_s + quarter, end_s: end_s - quarter,
      low_hz: this.highHz * 0.15, high_hz: this.highHz * 0.5,
    };
    this.canvas.classList.add("boxing");
    this.draw();
  }

  changeBox(seconds, hz, isSize) {
    const box = this.drawing, { start, end, highHz } = this.excerpt;
    const dt = (seconds * (this.view.to - this.view.from)) / 50, dHz = (hz * this.highHz) / 40;
    if (isSize) {
      box.end_s = Math.min(end, Math.max(box.start_s + 0.02, box.end_s + dt));
      box.high_hz = Math.min(highHz, Math.max(box.low_hz + LEAST_HZ / 4, box.high_hz + dHz));
    } else {
      const byTime = Math.min(end - box.end_s, Math.max(start - box.start_s, dt));
      const byHz = Math.min(highHz - box.high_hz, Math.max(-box.low_hz, dHz));
      box.start_s += byTime; box.end_s += byTime;
      box.low_hz += byHz; box.high_hz += byHz;
    }
    this.draw();
  }

  endBox(isKept) {
    const box = this.drawing;
    this.drawing = null;
    this.canvas.classList.remove("boxing");
    if (isKept && box) this.boxes.push(box);
    this.draw();
    return isKept ? box : null;
  }

  #wheel(event) {
    if (!this.excerpt || !(event.ctrlKey || event.shiftKey)) return;
    event.preventDefault();
    this.zoom((event.deltaY || event.deltaX) > 0 ? 1.25 : 0.8, this.#at(event).seconds);
  }

  #down(event) {
    if (!this.drawing) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.from = this.#at(event);
  }

  #move(event) {
    if (!this.from) return;
    const to = this.#at(event), from = this.from;
    this.drawing = {
      start_s: Math.min(from.seconds, to.seconds), end_s: Math.max(from.seconds, to.seconds, from.seconds + 0.01),
      low_hz: Math.min(from.hz, to.hz), high_hz: Math.max(from.hz, to.hz, Math.min(from.hz, to.hz) + 10),
    };
    this.draw();
  }

  #up() {
    if (!this.from) return;
    this.from = null;
    this.canvas.dispatchEvent(new CustomEvent("boxed", { detail: this.endBox(true) }));
  }
}

/** Returns seconds of a recording as a clock would show them. */
export function clock(seconds, precision = 1) {
  const digits = precision < 0.1 ? 2 : precision < 1 ? 1 : 0;
  const whole = Math.floor(seconds / 60), rest = (seconds - 60 * whole).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
  const hours = Math.floor(whole / 60);
  return hours ? `${hours}:${String(whole % 60).padStart(2, "0")}:${rest}` : `${whole}:${rest}`;
}
