"use strict";
/* What pages do with formulas; a formula is an immutable node {op, args}, and equal ones are one object.
     parse(text)            reads one; a FormulaError says in one line where and what is wrong
     fromRows(rows)         reads what Python's to_rows wrote
     text(e), symbols(e)    the text that parse reads; the names in it, sorted
     diff(e, wrt, order)    the derivative, in x unless told otherwise
     expand(e)              only primitives, where functions were defined by formulas
     substitute(e, values)  formulas or numbers in place of symbols
     evaluate(e, values)    a Float64Array of values, for a number or a Float64Array per symbol
     mathml(e), latex(e)    an element <math>; its LaTeX
     python(e, values)      source to copy, with these numbers in place of symbols; likewise c(e, values) */
const formulas = (() => {
  const { FormulaError, fromRows, text, symbols, expand, substitute } = formulaNodes;
  return Object.freeze({
    FormulaError, parse: formulaParser.parse, fromRows, text, symbols, diff: formulaSlopes.diff, expand, substitute,
    evaluate: formulaValues.evaluate, mathml: formulaNotation.mathml, latex: formulaNotation.latex, python: formulaSource.python,
    c: formulaSource.c,
  });
})();
