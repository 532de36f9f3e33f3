// What hands do on the explorer's map: pointer, wheel and keys.

const ARROWS = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]
};
const STEP = 40;       // pixels that the map moves with Shift and an arrow
const HINT = 1500;     // milliseconds that a hint is seen

// How a line drawn on the map changes what is chosen.
export function modeOf({shiftKey, altKey}) {
  return altKey ? "remove" : shiftKey ? "add" : "replace";
}

export class Hands {
  constructor(map) {
    this.map = map;
    this.lasso = false;
    this.held = null;
    const {over} = map;
    over.onpointerdown = (event) => this.press(event);
    over.onpointermove = (event) => this.drag(event);
    over.onpointerup = (event) => this.release(event);
    over.onpointerleave = () => {
      if (!this.held) map.hover(-1);
    };
    over.ondblclick = () => map.whole();
    over.onkeydown = (event) => this.key(event);
    over.addEventListener("wheel", (event) => this.wheel(event), {passive: false});
  }

  setLasso(on) {
    this.lasso = on;
    this.map.over.style.cursor = on ? "crosshair" : "grab";
  }

  // Where on the map an event happened.
  spotOf(event) {
    const box = this.map.over.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  // A page scrolls over the map; the map zooms with Ctrl, or once it was clicked.
  wheel(event) {
    const {over} = this.map;
    if (!event.ctrlKey && !event.metaKey && document.activeElement !== over) {
      this.map.hint.hidden = false;
      clearTimeout(this.hinting);
      this.hinting = setTimeout(() => {
        this.map.hint.hidden = true;
      }, HINT);
      return;
    }
    event.preventDefault();
    this.map.zoom(Math.exp(-event.deltaY * .0015), ...this.spotOf(event));
  }

  press(event) {
    const {map} = this;
    const from = this.spotOf(event);
    const lasso = event.shiftKey || event.altKey || this.lasso;
    this.held = {from, x: map.at.x, y: map.at.y, moved: false, lasso};
    map.over.setPointerCapture(event.pointerId);
    map.over.focus({preventScroll: true});
    if (lasso) map.at.lasso = [from];
    map.hover(-1);
  }

  drag(event) {
    const {held, map} = this;
    const [x, y] = this.spotOf(event);
    if (!held) {
      map.point(x, y);
      return;
    }
    const [dx, dy] = [x - held.from[0], y - held.from[1]];
    if (Math.hypot(dx, dy) > 4) held.moved = true;
    if (held.lasso) {
      map.at.lasso.push([x, y]);
      map.paintOver();
    } else if (held.moved) {
      map.pan(held.x + dx, held.y + dy);
    }
  }

  release(event) {
    const {held, map} = this;
    const line = map.at.lasso;
    this.held = map.at.lasso = null;
    if (!held) return;
    if (held.lasso && held.moved) map.choose(map.within(line), modeOf(event));
    else if (!held.moved) map.click(...held.from, modeOf(event));
    else map.paintOver();
  }

  key(event) {
    const {map} = this;
    const arrow = ARROWS[event.key];
    if (arrow && event.shiftKey) map.pan(map.at.x - STEP * arrow[0], map.at.y - STEP * arrow[1]);
    else if (arrow) map.step(...arrow);
    else if (event.key === "Enter") map.enter(modeOf(event));
    else if (event.key === "+" || event.key === "=") map.zoom(1.3);
    else if (event.key === "-") map.zoom(1 / 1.3);
    else if (event.key === "Escape") map.choose([]);
    else if (event.key === "z" && (event.ctrlKey || event.metaKey)) map.back();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
