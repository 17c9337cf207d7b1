// What Math lacks, one number at a time, in double precision. COEFFICIENTS are those of language/elementary.py.

// a^b where the limits of C and torch hold: 1 to any power is 1, nan too.
function pow(a, b) {
  return a === 1 || (a === -1 && Math.abs(b) === Infinity) ? 1 : Math.pow(a, b);
}

function sigmoid(a) {
  return 1 / (1 + Math.exp(-a));
}

function softplus(a) {
  return Math.max(a, 0) + Math.log1p(Math.exp(-Math.abs(a)));
}

function log_sigmoid(a) {
  return Math.min(a, 0) - Math.log1p(Math.exp(-Math.abs(a)));
}

function sinc(a) {
  const t = Math.PI * a;
  return t === 0 ? 1 : Math.abs(a) === Infinity ? 0 : Math.sin(t) / t;
}

function polynomial(x, coefficients) {
  let y = 0;
  for (let k = coefficients.length - 1; k >= 0; k--) y = y * x + coefficients[k];
  return y;
}

// erfc(a) for a >= 0: exp(-a^2) times a smooth factor (Shepherd and Laframboise, 1981). The square is taken in two parts, of which the
// first is exact, for exp would magnify its rounding error.
function erfc_above(a) {
  if (a > 27.5) return 0;
  const head = Math.fround(a), q = (a - 4) / (a + 4);
  return Math.exp(-head * head) * Math.exp((head - a) * (head + a)) * (1 + polynomial(q, COEFFICIENTS.erfcx)) / (1 + 2 * a);
}

function erfc(a) {
  return a < 0 ? 2 - erfc_above(-a) : erfc_above(a);
}

function erf(a) {
  const size = Math.abs(a);
  if (size < 1) return a + a * polynomial(a * a, COEFFICIENTS.erf);
  return a < 0 ? erfc_above(size) - 1 : 1 - erfc_above(size);
}

// exp(-a) I(a) for a >= 0: a series up to 16, an asymptotic form beyond.
function bessel(a, order) {
  if (a === Infinity) return 0;
  if (a >= 16) {
    const u = 16 / a;
    return (1 + u * polynomial(u, order ? COEFFICIENTS.i1_far : COEFFICIENTS.i0_far)) / Math.sqrt(2 * Math.PI * a);
  }
  const z = (a / 16) ** 2;
  return Math.exp(-a) * (order ? a * (0.5 + a * a * polynomial(z, COEFFICIENTS.i1)) : 1 + a * a * polynomial(z, COEFFICIENTS.i0));
}

function i0e(a) {
  return bessel(Math.abs(a), 0);
}

function i1e(a) {
  return a < 0 ? -bessel(-a, 1) : bessel(a, 1);
}
