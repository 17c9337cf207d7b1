// The Mittag-Leffler function and its derivatives of one number at a time, as special/contour.py computes them; CONTOUR has the numbers
// from there. Complex numbers are [re, im].

// The derivative of E_{alpha,beta}(z) of order (i, j, k) in its three arguments; nan outside 0 <= alpha <= 2 and 0 <= beta <= 3.
function mittag_leffler(i, j, k, z, alpha, beta) {
  return ml_derivative([i, j, k], z, alpha, beta, false);
}

// That derivative of E_{b,c}(a), over E_{e,f}(d); both are held without their exponential growth, so that neither overflows.
function mittag_leffler_ratio(i, j, k, a, b, c, d, e, f) {
  const above = ml_derivative([i, j, k], a, b, c, true), below = ml_derivative([0, 0, 0], d, e, f, true);
  return above / below * Math.exp(ml_exponent(a, b) - ml_exponent(d, e));
}

function ml_clip(a, low, high) {
  return Math.min(Math.max(a, low), high);
}

// log |z|^(1/alpha), with z and alpha limited so that it is finite.
function ml_growth(z, alpha) {
  return Math.log(ml_clip(Math.abs(z), 1e-300, CONTOUR.widest)) / Math.max(alpha, CONTOUR.tiny);
}

// z^(1/alpha) for z > 0 and alpha > 0, else 0; cut, so that the difference of two is finite.
function ml_exponent(z, alpha) {
  return z > 0 && alpha > 0 ? Math.exp(Math.min(ml_growth(z, alpha), CONTOUR.scaled)) : 0;
}

// The derivative of this order, over exp(ml_exponent(z, alpha)) if scaled. A value and its slopes ask for the same ones: they are kept.
function ml_derivative(order, z, alpha, beta, scaled) {
  if (!(alpha >= 0 && alpha <= 2 && beta >= 0 && beta <= 3) || Number.isNaN(z)) return NaN;
  const kept = ml_kept(alpha, beta), code = 8 * (order[0] + 3 * order[1] + 9 * order[2]) + Number(scaled);
  let known = kept.known.get(code);
  if (!known || known.size > 5000) kept.known.set(code, (known = new Map()));
  let y = known.get(z);
  if (y === undefined) known.set(z, (y = ml_computed(order, z, kept, scaled)));
  return y;
}

// Which form of the integral, which parabola, and whether there is a pole: see array_derivatives in contour.py.
function ml_computed(order, z, kept, scaled) {
  const beta = kept.beta, alpha = Math.max(kept.alpha, CONTOUR.tiny);
  if (kept.alpha === 0) return ml_continuation(order, z, beta);
  z = ml_clip(z, -CONTOUR.widest, CONTOUR.widest);
  const size = ml_growth(z, alpha), pole = size > -3 && (z > 0 || (z < 0 && alpha > 1 + CONTOUR.neighbour));
  const crossing = Math.exp(Math.min(size, 100) / 2) * Math.cos(z < 0 ? Math.PI / 2 / alpha : 0);
  const outer = pole && crossing > 0.8 && crossing < 1.17 ? 1 : 0;
  const alone = pole && z > 0 && size > Math.log(CONTOUR.depth + 15);
  const at = order[1] || order[2] ? -1 : ml_neighbour_of(z, alpha, beta, size);
  let y = 0;
  if (at >= 0) y = ml_neighbour(order[0], z, kept, at);
  else if (z < 0 && size > Math.log(CONTOUR.far)) y = ml_far(order, z, kept, outer);
  else if (!alone && Math.abs(z) < 1 && beta < 1) y = ml_apart(order, z, kept, outer);
  else if (!alone) y = ml_rule("whole", order, z, kept, outer);
  if (scaled) y *= Math.exp(-ml_exponent(z, alpha));
  return pole ? y + ml_pole(order, z, alpha, beta, CONTOUR.scales[outer], scaled) : y;
}

// -- complex numbers
function ml_times(a, b) {
  return [a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]];
}

function ml_sum(a, b) {
  return [a[0] + b[0], a[1] + b[1]];
}

function ml_by(a, real) {
  return [a[0] * real, a[1] * real];
}

function ml_plus(a, real) {
  return [a[0] + real, a[1]];
}

function ml_inverse(a) {
  const over = 1 / (a[0] * a[0] + a[1] * a[1]);
  return [a[0] * over, -a[1] * over];
}

function ml_exp(a) {
  const size = Math.exp(a[0]);
  return [size * Math.cos(a[1]), size * Math.sin(a[1])];
}

function ml_expm1(a) {
  const half = Math.sin(a[1] / 2);
  return [Math.expm1(a[0]) * Math.cos(a[1]) - 2 * half * half, Math.exp(a[0]) * Math.sin(a[1])];
}

// 1/Gamma(x) and its derivatives to this order, for -5 < x < 5: a Taylor series near the next whole number, and the recurrence.
function ml_rgamma(x, order) {
  const n = Math.round(x), t = x - n;
  let jet = CONTOUR.taylor.slice(0, order + 1).map((coefficients) => polynomial(t, coefficients));
  for (let k = 0; k <= -n; k++) jet = jet.map((c, m) => c * (t - k) + (m ? jet[m - 1] : 0));
  for (let k = 1; k < n; k++) jet = jet.reduce((out, c, m) => [...out, (m ? c - out[m - 1] : c) / (t + k)], []);
  return jet.map((c, m) => c * [1, 1, 2][m]);
}

const ml_all_kept = [];

// What is kept for one alpha and beta: two parabolas and values by order and z. There are the last sixteen, for arrays share them.
function ml_kept(alpha, beta) {
  let found = ml_all_kept.find((kept) => kept.alpha === alpha && kept.beta === beta);
  if (!found) {
    found = { alpha, beta, parabolas: [], neighbours: [], tails: [], known: new Map() };
    ml_all_kept.unshift(found);
    ml_all_kept.length = Math.min(ml_all_kept.length, 16);
  }
  return found;
}

// The nodes of the first parabola, or the outer one, with log s, the weight e^s ds/du, that times s^-beta, and s^alpha - 1.
function ml_parabola(kept, outer) {
  if (!kept.parabolas[outer]) {
    const mu = CONTOUR.scales[outer], count = Math.ceil(Math.sqrt(CONTOUR.depth / mu + 1) / CONTOUR.step), nodes = [];
    const alpha = Math.max(kept.alpha, CONTOUR.tiny);
    for (let i = 0; i < count; i++) {
      const u = (i + 0.5) * CONTOUR.step, log = [Math.log(mu) + Math.log1p(u * u), 2 * Math.atan(u)];
      const weight = ml_by(ml_times(ml_exp([mu * (1 - u * u), 2 * mu * u]), [1, u]), 2 * mu * CONTOUR.step / Math.PI);
      nodes.push({ log, weight, base: ml_times(weight, ml_exp(ml_by(log, -kept.beta))), less: ml_expm1(ml_by(log, alpha)) });
    }
    kept.parabolas[outer] = { nodes, less: Float64Array.from(nodes.flatMap((node) => node.less)), weights: {} };
  }
  return kept.parabolas[outer];
}

// Of an integrand, the weights by the power of J = 1/(X - z): its terms c X^p J^q with e^s ds/du s^-beta log(s)^j (-log s)^k.
function ml_weights(parabola, table, [m, n, o]) {
  const known = (parabola.weights[table] ??= []), code = m + 3 * n + 9 * o;
  if (!known[code]) {
    const weights = [1, 2, 3].map(() => new Float64Array(2 * parabola.nodes.length)), [, terms] = CONTOUR[table][`${m}${n}`];
    parabola.nodes.forEach(({ log, base, less }, i) => {
      for (const [c, p, q] of terms) {
        let w = ml_by(base, (-1) ** o * c);
        for (let r = 0; r < n + o; r++) w = ml_times(w, log);
        for (let r = 0; r < p; r++) w = ml_times(w, ml_plus(less, 1));
        weights[q - 1][2 * i] += w[0];
        weights[q - 1][2 * i + 1] += w[1];
      }
    });
    known[code] = { weights, most: Math.max(...terms.map(([, , q]) => q)), power: CONTOUR[table][`${m}${n}`][0] };
  }
  return known[code];
}

// The trapezoidal rule for an integrand of one of the tables "whole", "first" and "tail".
function ml_rule(table, order, z, kept, outer) {
  const parabola = ml_parabola(kept, outer), { weights: [one, two, three], most, power } = ml_weights(parabola, table, order);
  const less = parabola.less, shift = 1 - z;
  let y = 0;
  for (let i = 0; i < less.length; i += 2) {
    const re = less[i] + shift, im = less[i + 1], over = 1 / (re * re + im * im), a = re * over, b = -im * over; // J
    y += one[i] * a - one[i + 1] * b;
    if (most > 1) {
      const a2 = a * a - b * b, b2 = 2 * a * b;
      y += two[i] * a2 - two[i + 1] * b2;
      if (most > 2) y += three[i] * (a2 * a - b2 * b) - three[i + 1] * (a2 * b + b2 * a);
    }
  }
  return power ? y * z ** power : y;
}

// 1/Gamma(beta), the first term of the series, plus the rule for the rest.
function ml_apart([m, n, o], z, kept, outer) {
  if (m || n) return ml_rule("whole", [m, n, o], z, kept, outer);
  return ml_rule("first", [m, n, o], z, kept, outer) + ml_rgamma(kept.beta, o)[o];
}

// The first two algebraic terms, -sum z^-k/Gamma(beta - alpha k), plus the rule for the rest.
function ml_far([m, n, o], z, kept, outer) {
  let y = ml_rule("tail", [m, n, o], z, kept, outer);
  for (const k of [1, 2]) {
    const g = ((kept.tails[k] ??= [])[n + o] ??= ml_rgamma(kept.beta - k * kept.alpha, n + o)[n + o]);
    y -= [1, -k, k * (k + 1)][m] * (-k) ** n * g * z ** (-k - m);
  }
  return y;
}

// Which elementary function is so near that its difference from it is computed, or -1.
function ml_neighbour_of(z, alpha, beta, size) {
  return CONTOUR.elementary.findIndex(([a, b]) => Math.abs(alpha - a) < CONTOUR.neighbour && Math.abs(beta - b) < CONTOUR.neighbour
    && (a ? z < -1 : z < 0 || size < -3));
}

// What the difference from an elementary neighbour needs at each node: weight s^(a-b), both brackets, s^alpha and s^a.
function ml_neighbour_nodes(kept, at) {
  const [a, b] = CONTOUR.elementary[at], { alpha, beta } = kept;
  return (kept.neighbours[at] ??= ml_parabola(kept, 0).nodes.map(({ log, weight }) => ({
    base: ml_times(weight, ml_exp(ml_by(log, a - b))),
    first: ml_times(ml_exp(ml_by(log, alpha)), ml_expm1(ml_by(log, b - beta))),
    second: ml_expm1(ml_by(log, alpha - a + b - beta)), here: ml_exp(ml_by(log, alpha)), there: ml_exp(ml_by(log, a)),
  })));
}

// The derivative of order m in z, as that of an elementary neighbour plus the integral of the difference.
function ml_neighbour(m, z, kept, at) {
  let y = [Math.exp(z), (z + m) * Math.exp(z), 0][at];
  for (const { base, first, second, here, there } of ml_neighbour_nodes(kept, at)) {
    const p = ml_inverse(ml_plus(here, -z)), q = ml_inverse(ml_plus(there, -z)), top = ml_sum(first, ml_by(second, -z));
    const product = ml_times(p, q), total = ml_sum(p, q), slope = ml_sum(ml_times(top, total), ml_by(second, -1));
    const squares = ml_times(top, ml_sum(ml_times(p, p), ml_times(q, q)));
    const part = m === 0 ? top : m === 1 ? slope
      : ml_sum(ml_sum(ml_times(slope, total), squares), ml_by(ml_times(second, total), -1));
    y += ml_times(base, ml_times(product, part))[0];
  }
  return y;
}

// What the rule misses of the residue of the pole at z^(1/alpha): see _pole in contour.py.
function ml_pole(order, z, alpha, beta, mu, scaled) {
  const positive = z > 0, over = 1 / alpha;
  const most = positive ? (scaled ? CONTOUR.scaled : CONTOUR.overflow) : CONTOUR.large;
  const log = [Math.min(Math.log(Math.abs(z)) * over, most), positive ? 0 : Math.PI * over];
  const turn = Math.PI * (1 - alpha / 2) * over, r = Math.exp(log[0]);
  const s = positive ? [r, 0] : [-r * Math.sin(turn), r * Math.cos(turn)];
  const w = ml_by(ml_exp(ml_by(log, 0.5)), mu ** -0.5), y = ml_by(ml_plus(w, -1), 2 * Math.PI / CONTOUR.step);
  const e = ml_exp([ml_clip(y[0], -700, 40), y[1]]), rest = ml_inverse(ml_plus(e, 1)), p = ml_times(e, rest); // 1 - p, and p
  const step = ml_by(w, Math.PI / CONTOUR.step);
  const growth = ml_sum(ml_by(log, 1 - beta), scaled ? [positive ? 0 : s[0], s[1]] : s);
  const q = ml_times(ml_exp([Math.min(growth[0], 600), growth[1]]), p);
  const g = ml_sum(ml_plus(s, 1 - beta), ml_times(rest, step));
  const h = ml_sum(ml_sum(s, ml_by(ml_times(rest, step), 0.5)), ml_by(ml_times(ml_times(p, rest), ml_times(step, step)), -1));
  const factor = ml_slope(order, alpha, log, g, h), size = (positive ? 1 : 2) * Math.exp(Math.max(growth[0] - 600, 0));
  return ml_times(q, factor)[0] * size * over ** (1 + order[0] + order[1]) * z ** -order[0];
}

// The derivative of exp f in z, alpha and beta over exp(f) z^-i alpha^-(i+j): see _exponential_slopes in contour.py.
function ml_slope(order, alpha, log, g, h) {
  const first = [g, ml_plus(ml_by(ml_times(log, g), -1), -1), ml_by(log, -1)], which = order.flatMap((m, n) => Array(m).fill(first[n]));
  if (which.length < 2) return which[0] ?? [1, 0];
  const second = {
    200: () => ml_sum(h, ml_by(g, -alpha)),
    110: () => ml_by(ml_sum(ml_times(log, h), g), -1),
    101: () => [-1, 0],
    "020": () => ml_plus(ml_sum(ml_times(log, ml_times(log, h)), ml_by(ml_times(log, g), 2)), 1),
    "011": () => log,
    "002": () => [0, 0],
  };
  return ml_sum(ml_times(which[0], which[1]), second[order.join("")]());
}

// 1/(Gamma(beta)(1 - z)), which E is at alpha = 0, and its derivatives; those in alpha exist for z < 1 only.
function ml_continuation([m, n, o], z, beta) {
  if (n && !(z < 1)) return NaN;
  const y = 1 / (1 - z), g = ml_rgamma(beta, n + o)[n + o];
  const part = { "00": y, 10: y ** 2, 20: 2 * y ** 3, "01": z * y ** 2, 11: (1 + z) * y ** 3, "02": z * (1 + z) * y ** 3 }[`${m}${n}`];
  return g === 0 ? 0 : part * g;
}
