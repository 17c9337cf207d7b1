"use strict";
/* Time for values that move by themselves; one motion at a time. */
const motion = (() => {
  const reduced = matchMedia("(prefers-reduced-motion: reduce)");
  let frame = 0, ended = null;

  /** End the motion that runs, if one does. */
  function stop() {
    cancelAnimationFrame(frame);
    const done = ended;
    ended = null;
    done?.();
  }

  /** Call step(seconds since the start) at each frame until it returns false or `stop` is called; then `done`. */
  function run(step, done) {
    stop();
    ended = done;
    const begun = performance.now();
    const next = (now) => {
      if (step(Math.max(0, now - begun) / 1000) === false) stop();
      else if (ended === done) frame = requestAnimationFrame(next);
    };
    frame = requestAnimationFrame(next);
  }

  /** From 0 to 1 and back, softly at the ends, in `period` seconds. */
  const wave = (seconds, period) => (1 - Math.cos((2 * Math.PI * seconds) / period)) / 2;

  /** From 0 to 1 softly in `length` seconds. */
  const ease = (seconds, length) => (seconds >= length ? 1 : wave(seconds, 2 * length));

  return { run, stop, wave, ease, isReduced: () => reduced.matches, isRunning: () => ended !== null };
})();
