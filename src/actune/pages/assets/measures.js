"use strict";
/* Facts of a function on [-10, 10], found by its values: lowest value, Lipschitz constant, fixed points. f and slope map arrays. */
const measures = (() => {
  const END = 10;
  const CELLS = 4000; // 0 and every multiple of 1/200 is a node
  const CLOSE = 1e-9; // |f(x) - x| where x counts as a fixed point
  const ROUNDED = 1e-13; // |f(x) - x| beside a fixed point that is due to rounding: gelu(x) is x in float64 from 8.3 on
  const grid = Float64Array.from({ length: CELLS + 1 }, (_, i) => (i - CELLS / 2) / (CELLS / 2 / END));
  const at = (f, x) => f(Float64Array.of(x))[0];

  /** Where a function of one number is least between a and b, by golden section. */
  function least(g, a, b) {
    const part = (Math.sqrt(5) - 1) / 2;
    for (let i = 0; i < 60 && b - a > 1e-12; i++) {
      const one = b - part * (b - a), two = a + part * (b - a);
      if (g(one) <= g(two)) b = two; else a = one;
    }
    return (a + b) / 2;
  }

  /** The least value and where it is; at nodes, then between the neighbours of the best. */
  function lowest(f, values = f(grid)) {
    let k = -1;
    values.forEach((v, i) => { if (Number.isFinite(v) && (k < 0 || v < values[k])) k = i; });
    if (k < 0) return null;
    const found = { x: grid[k], value: values[k] };
    const x = least((t) => at(f, t), grid[Math.max(0, k - 1)], grid[Math.min(CELLS, k + 1)]);
    const value = at(f, x);
    return value < found.value ? { x, value } : found;
  }

  /** The largest |f'|, and where; Infinity where the function jumps or has a pole. */
  function lipschitz(f, slope) {
    const values = f(grid);
    const jump = leap(f, values);
    if (jump !== null) return { x: jump, value: Infinity };
    const steep = (x) => slope(x).map((v) => -Math.abs(v));
    const found = lowest(steep);
    return found && { x: found.x, value: -found.value };
  }

  /** Where the function jumps or is not finite, null if nowhere: halves of the cell with the largest step, again and again. */
  function leap(f, values) {
    const wild = values.findIndex((v) => !Number.isFinite(v));
    if (wild >= 0) return grid[wild];
    let k = 0, usual = 0;
    for (let i = 0; i < CELLS; i++) {
      const step = Math.abs(values[i + 1] - values[i]);
      usual = Math.max(usual, Math.abs(values[i]));
      if (step > Math.abs(values[k + 1] - values[k])) k = i;
    }
    let [a, b] = [grid[k], grid[k + 1]], [low, high] = [values[k], values[k + 1]];
    for (let i = 0; i < 45; i++) {
      const x = (a + b) / 2, y = at(f, x);
      if (Math.abs(y - low) > Math.abs(high - y)) [b, high] = [x, y]; else [a, low] = [x, y];
    }
    return Math.abs(high - low) > 1e-8 * Math.max(1, usual) ? (a + b) / 2 : null;
  }

  /** Where f(x) = x: [{x, slope}] of points and [{from, to}] of whole stretches, in order. */
  function fixedPoints(f, slope) {
    const gap = f(grid).map((y, i) => y - grid[i]);
    const away = (t) => at(f, t) - t;
    const isReal = (i, k) => (i <= 0 && k >= CELLS) || Math.abs(gap[i - 1] ?? 0) > ROUNDED || Math.abs(gap[k + 1] ?? 0) > ROUNDED;
    const found = [];
    for (let i = 0; i <= CELLS; i++) {
      let k = i;
      while (k < CELLS && gap[i] === 0 && gap[k + 1] === 0) k++;
      if (gap[i] === 0 && isReal(i, k)) {
        found.push(k > i ? { from: grid[i], to: grid[k] } : { x: grid[i], slope: at(slope, grid[i]) });
      } else if (gap[i] * gap[i + 1] < 0 && Math.max(Math.abs(gap[i]), Math.abs(gap[i + 1])) > ROUNDED) {
        const x = root(away, grid[i], grid[i + 1]);
        if (Math.abs(away(x)) < CLOSE * Math.max(1, Math.abs(x))) found.push({ x, slope: at(slope, x) });
      }
      i = k;
    }
    return found;
  }

  /** A root between a and b, where g has different signs, by bisection. */
  function root(g, a, b) {
    const left = Math.sign(g(a));
    for (let i = 0; i < 60; i++) {
      const x = (a + b) / 2;
      if (Math.sign(g(x)) === left) a = x; else b = x;
    }
    return (a + b) / 2;
  }

  return { lowest, lipschitz, fixedPoints, at, END };
})();
