/**
 * Draws the microphone's level as a band of bars that moves to the left, 20 bars a second.
 *
 * @module
 */

const BAR_WIDTH = 4;
const BAR_GAP = 3;
const BAR_INTERVAL_MS = 50;
const QUIET_DB = -55;

export class LevelMeter {
  #canvas;
  /** @type {number[]} */
  #levels = [];
  /** @type {AudioContext | null} */
  #audio = null;
  /** @type {(() => void) | null} */
  #stop = null;

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.#canvas = canvas;
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** @param {MediaStream} stream @param {() => boolean} isRecording */
  listen(stream, isRecording) {
    this.close();
    this.#levels = [];
    this.#audio = new AudioContext();
    const analyser = this.#audio.createAnalyser();
    analyser.fftSize = 2048;
    this.#audio.createMediaStreamSource(stream).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const timer = setInterval(() => {
      if (!isRecording()) return;
      analyser.getFloatTimeDomainData(samples);
      this.#levels.push(loudness(samples));
      this.draw();
    }, BAR_INTERVAL_MS);
    this.#stop = () => clearInterval(timer);
  }

  close() {
    this.#stop?.();
    this.#stop = null;
    void this.#audio?.close();
    this.#audio = null;
  }

  /** In the colour that the page gives it now. */
  draw() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const scale = devicePixelRatio;
    this.#canvas.width = width * scale;
    this.#canvas.height = height * scale;
    const context = this.#canvas.getContext("2d");
    if (context === null) return;
    context.scale(scale, scale);
    context.fillStyle = getComputedStyle(this.#canvas).color;
    const step = BAR_WIDTH + BAR_GAP;
    const bars = Math.floor(width / step);
    this.#levels = this.#levels.slice(-bars);
    const empty = bars - this.#levels.length;
    for (let bar = 0; bar < bars; bar += 1) {
      const level = bar < empty ? 0 : this.#levels[bar - empty];
      const tall = Math.max(BAR_WIDTH, level * height);
      context.globalAlpha = level > 0 ? 0.35 + 0.65 * (bar / bars) : 0.3;
      context.beginPath();
      context.roundRect(bar * step, (height - tall) / 2, BAR_WIDTH, tall, BAR_WIDTH / 2);
      context.fill();
    }
  }
}

/** From 0 (quiet) to 1. @param {Float32Array} samples */
function loudness(samples) {
  const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
  const decibels = 10 * Math.log10(power + 1e-12);
  return Math.min(1, Math.max(0.02, 1 - decibels / QUIET_DB));
}
