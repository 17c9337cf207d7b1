"use strict";
/*
 * What a function does to normal inputs: means over z ~ N(0, 1), by the midpoint rule on [-8, 8], whose nodes miss every kink at a
 * multiple of 1/50. Beyond 8 there is less than 1e-14 of the distribution.
 */
const signal = (() => {
  const END = 8;
  const LAYERS = 30;
  const SATURATED = 0.01; // |f'| below which an input counts as saturated, as in the card of a model

  /** The nodes and their probabilities. */
  function normal(count) {
    const z = Float64Array.from({ length: count }, (_, i) => ((2 * i + 1 - count) / count) * END);
    const density = z.map((v) => Math.exp((-v * v) / 2));
    const total = density.reduce((a, b) => a + b);
    return { z, weights: density.map((d) => d / total) };
  }

  const FINE = normal(4000), COARSE = normal(400);

  const mean = (values, weights) => values.reduce((sum, v, i) => sum + weights[i] * v, 0);

  /** The shares of N(0, 1) where the function is saturated, and where its slope is exactly 0. */
  function shares(slope) {
    const size = slope(FINE.z).map(Math.abs);
    const share = (holds) => size.reduce((sum, s, i) => sum + (holds(s) ? FINE.weights[i] : 0), 0);
    return { saturated: share((s) => s < SATURATED), dead: share((s) => s === 0) };
  }

  /** 1/√E f(z)²: the gain at which inputs of variance 1 keep it. */
  const ownGain = (f) => 1 / Math.sqrt(mean(f(FINE.z).map((v) => v * v), FINE.weights));

  /**
   * Mean and variance of the outputs of each layer of a wide network with independent normal weights of variance gain²/width and
   * no biases: z_l ~ N(0, q_l), q_1 = 1, q_{l+1} = gain² E f(z_l)² (Poole et al., arXiv:1606.05340, equation 3). `gradient` is the
   * factor gain² E f'(z_l)² of squared gradients per layer (Schoenholz et al., arXiv:1611.01232).
   */
  function layers(f, slope, gain) {
    const found = [];
    for (let layer = 1, q = 1; layer <= LAYERS; layer++) {
      const z = COARSE.z.map((v) => v * Math.sqrt(q));
      const y = f(z);
      const m = mean(y, COARSE.weights), second = mean(y.map((v) => v * v), COARSE.weights);
      const gradient = gain * gain * mean(slope(z).map((v) => v * v), COARSE.weights);
      found.push({ layer, mean: m, variance: Math.max(0, second - m * m), input: q, gradient });
      q = gain * gain * second;
    }
    return found;
  }

  return { shares, ownGain, layers, LAYERS };
})();
