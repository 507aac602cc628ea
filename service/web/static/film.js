// A film on a canvas: all the greys of a 16-bit PNG, with window and level, inversion, zoom and moving.

const WHITE = 65535;

/** Return {columns, rows, grey: Uint16Array} of a greyscale PNG of 16 bits whose rows are filtered "up". */
async function readPng(buffer) {
  const view = new DataView(buffer);
  const packed = [];
  let columns = 0;
  let rows = 0;
  for (let at = 8; at < buffer.byteLength; ) {
    const size = view.getUint32(at);
    const kind = String.fromCharCode(...new Uint8Array(buffer, at + 4, 4));
    if (kind === "IHDR") {
      columns = view.getUint32(at + 8);
      rows = view.getUint32(at + 12);
    } else if (kind === "IDAT") {
      packed.push(new Uint8Array(buffer, at + 8, size));
    }
    at += size + 12;
  }
  const stream = new Blob(packed).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const width = 2 * columns;
  const above = new Uint8Array(width);
  const grey = new Uint16Array(columns * rows);
  for (let row = 0, at = 0, to = 0; row < rows; row += 1) {
    at += 1; // the row's filter
    for (let x = 0; x < width; x += 2, at += 2, to += 1) {
      above[x] += bytes[at];
      above[x + 1] += bytes[at + 1];
      grey[to] = (above[x] << 8) | above[x + 1];
    }
  }
  return { columns, rows, grey };
}

export class Film {
  constructor(figure) {
    this.figure = figure;
    this.canvas = figure.querySelector("canvas");
    this.message = figure.querySelector(".film-message");
    this.readout = figure.querySelector("output");
    this.picture = null;
    this.inverted = false;
    this.place();
    this.listen();
    new ResizeObserver(() => this.paint()).observe(this.canvas);
  }

  /** Fetch and show the film; say why where that cannot be. */
  async load() {
    const slow = setTimeout(() => {
      this.message.textContent = "Still loading … a large film takes a few seconds.";
    }, 3000);
    try {
      const answer = await fetch(this.figure.dataset.film, { headers: { "x-demur-script": "1" } });
      if (answer.status === 422) throw new Error(await answer.text());
      if (!answer.ok) throw new Error("This picture is not to be had at the moment. Load the page again.");
      const { columns, rows, grey } = await readPng(await answer.arrayBuffer());
      this.picture = { columns, rows, grey };
      this.sheet = new OffscreenCanvas(columns, rows);
      this.pixels = this.sheet.getContext("2d").createImageData(columns, rows);
      this.message.hidden = true;
      this.figure.classList.add("shown");
      this.develop();
    } catch (error) {
      this.figure.classList.add("failed");
      this.message.textContent =
        error instanceof TypeError ? "The service was not reached. Load the page again." : error.message;
    } finally {
      clearTimeout(slow);
    }
  }

  place() {
    this.level = WHITE / 2;
    this.window = WHITE;
    this.scale = null; // null: the whole film
    this.offset = { x: 0, y: 0 };
  }

  reset() {
    this.place();
    this.inverted = false;
    this.develop();
  }

  invert(inverted) {
    this.inverted = inverted;
    this.develop();
  }

  /** Show the film at its own size, one pixel of it for one of the screen, or whole. */
  zoom(whole) {
    this.scale = whole ? null : 1;
    this.offset = { x: 0, y: 0 };
    this.paint();
  }

  shift(window, level) {
    this.window = Math.min(2 * WHITE, Math.max(WHITE / 100, this.window + window));
    this.level = Math.min(WHITE, Math.max(0, this.level + level));
    this.develop();
  }

  /** Turn greys into what the window lets through, once before the next picture on the screen. */
  develop() {
    if (!this.picture || this.due) return;
    this.due = true;
    requestAnimationFrame(() => {
      this.due = false;
      const table = new Uint32Array(WHITE + 1);
      const low = this.level - this.window / 2;
      for (let value = 0; value <= WHITE; value += 1) {
        const shade = Math.min(255, Math.max(0, Math.round(((value - low) / this.window) * 255)));
        const seen = this.inverted ? 255 - shade : shade;
        table[value] = 0xff000000 | (seen << 16) | (seen << 8) | seen;
      }
      const { grey } = this.picture;
      const out = new Uint32Array(this.pixels.data.buffer);
      for (let at = 0; at < grey.length; at += 1) out[at] = table[grey[at]];
      this.sheet.getContext("2d").putImageData(this.pixels, 0, 0);
      this.paint();
    });
  }

  paint() {
    if (!this.picture) return;
    const dots = window.devicePixelRatio || 1;
    const width = Math.round(this.canvas.clientWidth * dots);
    const height = Math.round(this.canvas.clientHeight * dots);
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    const { columns, rows } = this.picture;
    const whole = Math.min(width / columns, height / rows);
    const scale = this.scale ?? whole;
    const context = this.canvas.getContext("2d");
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    context.imageSmoothingEnabled = scale < 3;
    context.imageSmoothingQuality = "high";
    const x = (width - columns * scale) / 2 + this.offset.x;
    const y = (height - rows * scale) / 2 + this.offset.y;
    context.drawImage(this.sheet, x, y, columns * scale, rows * scale);
    const percent = (value) => Math.round((value / WHITE) * 100);
    this.readout.textContent = `W ${percent(this.window)} L ${percent(this.level)} · ${Math.round(scale * 100)} %`;
    this.shown = { scale, whole };
  }

  listen() {
    const { canvas } = this;
    let from = null;
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.picture) return;
      from = { x: event.clientX, y: event.clientY, moves: event.shiftKey || event.button !== 0 };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!from) return;
      const dx = event.clientX - from.x;
      const dy = event.clientY - from.y;
      from = { ...from, x: event.clientX, y: event.clientY };
      if (from.moves) {
        const dots = window.devicePixelRatio || 1;
        this.offset = { x: this.offset.x + dx * dots, y: this.offset.y + dy * dots };
        this.paint();
      } else {
        this.shift(dx * 160, dy * 120);
      }
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { from = null; });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => {
      if (!this.picture) return;
      event.preventDefault();
      this.zoomAt(event, Math.exp(-event.deltaY / 500));
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-2000, 0], ArrowRight: [2000, 0], ArrowUp: [0, -1500], ArrowDown: [0, 1500] }[event.key];
      if (!step) return;
      event.preventDefault();
      this.shift(...step);
    });
  }

  /** Zoom so that what is under the pointer stays there. */
  zoomAt(event, factor) {
    const dots = window.devicePixelRatio || 1;
    const box = this.canvas.getBoundingClientRect();
    const x = (event.clientX - box.left - box.width / 2) * dots;
    const y = (event.clientY - box.top - box.height / 2) * dots;
    const { scale, whole } = this.shown;
    const next = Math.min(16, Math.max(whole, scale * factor));
    this.offset = next === whole ? { x: 0, y: 0 } : {
      x: x - ((x - this.offset.x) * next) / scale,
      y: y - ((y - this.offset.y) * next) / scale,
    };
    this.scale = next === whole ? null : next;
    this.paint();
  }
}
